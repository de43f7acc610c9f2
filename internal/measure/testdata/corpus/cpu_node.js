let x = 1 + Number(process.argv[2]);
for (let i = 0; i < 2.2e9; i++) { x ^= x << 13; x ^= x >>> 17; x ^= x << 5; }
console.log(x & 1);
