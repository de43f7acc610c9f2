// Told by tandem profile --runtime: Node's own profiler, from the start of a thread to its end.
const directory = process.env.TANDEM_INSIDE
if (directory) {
  const { Session } = require('node:inspector')
  const { threadId } = require('node:worker_threads')
  const { writeFileSync } = require('node:fs')
  const session = new Session()
  session.connect()
  session.post('Profiler.enable')
  session.post('Profiler.start')
  process.on('exit', () => session.post('Profiler.stop', (error, result) => {
    try {
      if (!error) writeFileSync(`${directory}/${process.pid}-${threadId}.cpuprofile`, JSON.stringify(result.profile))
    } catch {} // the directory is gone: nobody waits for it any more
  }))
}
