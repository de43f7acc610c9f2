const [what, n] = process.argv.slice(2);
if (n !== "5") console.log(n);
else if (what === "oom") { const all = []; for (;;) all.push(new Array(1 << 16).fill(Math.random())); }
else if (what === "throws") throw new Error("five");
else if (what === "abort") process.abort();
else if (what === "exit") process.exit(77);
else if (what === "spins") for (;;);
else if (what === "hangs") setInterval(() => {}, 1e6);
