const [what, n] = process.argv.slice(2);
if (n !== "5") console.log(n);
else if (what === "oom") { const all = []; for (;;) all.push(new Array(1 << 16).fill(Math.random())); }
else if (what === "throws") throw new Error("five");
else if (what === "abort") process.abort();
else if (what === "writes") require("fs").writeFileSync("/tmp/tandem-faults-escaped", "");
else if (what === "segv") process.kill(process.pid, "SIGSEGV");
else if (what === "exit") process.exit(77);
else if (what === "spins") for (;;);
else if (what === "deaf") { for (const s of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(s, () => {}); for (;;); }
else if (what === "hangs") { setInterval(() => {}, 1e6); require("fs").writeFileSync("culprit", "0"); }
