// What Node costs: worker threads and promises. The arguments name experiments.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'

const quick = process.argv.includes('--quick')
const row = (model, measure, value, unit, n = 1, note = '') => console.log(JSON.stringify({ model, measure, value, unit, n, note }))
const now = () => performance.now()
const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])
const rounds = quick ? 2e7 : 1e8
const burn = () => { let n = 0; for (let i = 0; i < rounds; i++) n ^= Math.imul(i, 31); return n }
const once = (w, event) => new Promise(done => w.once(event, done))
const worker = what => { const w = new Worker(new URL(import.meta.url), { workerData: what }); w.on('error', () => {}); return w }

async function ready (what) {
  const w = worker(what)
  await once(w, 'message')
  return w
}

const experiments = {
  async create () {
    const n = quick ? 5 : 20
    let begun = now()
    for (let i = 0; i < n; i++) await once(worker('nothing'), 'exit')
    row('node worker', 'create', (now() - begun) / n * 1e3, 'µs', n)
    const many = quick ? 20000 : 200000
    begun = now()
    for (let i = 0; i < many; i++) await Promise.resolve(i).then(x => x)
    row('node promise', 'create', (now() - begun) / many * 1e3, 'µs', many)
  },
  async memory () {
    const n = quick ? 4 : 8
    await (await ready('echo')).terminate()
    const before = resident()
    const all = []
    for (let i = 0; i < n; i++) all.push(await ready('echo'))
    row('node worker', 'memory', (resident() - before) / n, 'KB', n)
    await Promise.all(all.map(w => w.terminate()))
  },
  async switch () {
    const n = quick ? 1000 : 5000
    const w = await ready('echo')
    const begun = now()
    for (let i = 0; i < n; i++) { w.postMessage(i); await once(w, 'message') }
    row('node worker', 'switch', (now() - begun) / n / 2 * 1e3, 'µs', n, 'postMessage')
    await w.terminate()
  },
  async talk () {
    const n = quick ? 5000 : 50000
    const w = await ready('count')
    const message = new Uint8Array(64)
    const begun = now()
    for (let i = 0; i < n; i++) w.postMessage(message)
    w.postMessage('end')
    await once(w, 'message')
    row('node worker', 'message', (now() - begun) / n * 1e3, 'µs', n, 'postMessage')
    await w.terminate()
  },
  async crash () {
    let alive = 0
    const all = [1, 2, 3].map(() => { const w = worker('wait'); w.on('message', () => alive++); return once(w, 'exit') })
    await once(worker('throw'), 'exit')
    await Promise.all(all)
    row('node worker', 'neighbours lost', 3 - alive, 'of 3', 1, 'one of four threw an exception; a crash in native code would end the process with all of them')
  },
  async cpu () {
    for (let i = 0; i < 3; i++) burn()
    const all = await Promise.all([1, 2, 3, 4].map(() => ready('burn')))
    let loop = Infinity
    let together = Infinity
    for (let k = 0; k < 3; k++) {
      let begun = now()
      for (let i = 0; i < 4; i++) burn()
      loop = Math.min(loop, now() - begun)
      begun = now()
      await Promise.all(all.map(w => { w.postMessage(0); return once(w, 'message') }))
      together = Math.min(together, now() - begun)
    }
    row('node loop', 'four tasks', loop / 1e3, 's', 4, 'best of three rounds')
    row('node worker', 'four tasks', together / 1e3, 's', 4, 'best of three rounds; workers have started')
    await Promise.all(all.map(w => w.terminate()))
  },
  async wait () {
    const begun = now()
    await Promise.all([1, 2, 3, 4].map(() => sleep(quick ? 100 : 1000)))
    row('node promise', 'four waits', (now() - begun) / 1e3, 's', 4, `waits of ${quick ? 0.1 : 1} s`)
  },
  async many () {
    const n = quick ? 2000 : 10000
    const before = resident()
    const begun = now()
    const all = Array.from({ length: n }, () => sleep(1000))
    const each = (resident() - before) / n
    await Promise.all(all)
    row('node promise', 'all waits', (now() - begun) / 1e3, 's', n)
    row('node promise', 'memory of each', Math.max(0, each), 'KB', n)
  },
  async share () {
    const mb = quick ? 32 : 256
    const note = `${mb} MB, every page of it read by the other`
    for (const [how, buffer] of [['node worker, copied', new ArrayBuffer(mb << 20)], ['node worker, SharedArrayBuffer', new SharedArrayBuffer(mb << 20)]]) {
      new Uint8Array(buffer).fill(1)
      const w = await ready('touch')
      const begun = now()
      w.postMessage(buffer)
      await once(w, 'message')
      row(how, 'hand over', now() - begun, 'ms', 1, note)
      await w.terminate()
    }
  }
}

const roles = {
  nothing () {},
  echo () { parentPort.on('message', m => parentPort.postMessage(m)); parentPort.postMessage('ready') },
  count () { parentPort.on('message', m => { if (m === 'end') parentPort.postMessage(m) }); parentPort.postMessage('ready') },
  burn () { for (let i = 0; i < 3; i++) burn(); parentPort.on('message', () => parentPort.postMessage(burn())); parentPort.postMessage('ready') },
  touch () {
    parentPort.on('message', b => { const a = new Uint8Array(b); let n = 0; for (let i = 0; i < a.length; i += 4096) n += a[i]; parentPort.postMessage(n) })
    parentPort.postMessage('ready')
  },
  async wait () { await sleep(100); parentPort.postMessage('alive') },
  throw () { throw new Error('on purpose') }
}

if (isMainThread) {
  for (const name of process.argv.slice(2)) if (experiments[name]) await experiments[name]()
  process.exit(0)
} else {
  roles[workerData]()
}
