// One request after the other.
const http = require('http');
const agent = new http.Agent({ keepAlive: true });
let left = 50;
const next = () => {
  if (left-- === 0) { agent.destroy(); return; }
  http.get(process.argv[3], { agent }, (r) => { r.resume(); r.on('end', next); });
};
next();
