package mapper

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"tandem"
)

// The first nine columns are GNU parallel's, in its order; its tools read the log, and so does --resume in both directions.
const jobLogHead = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\tCPU\tRunQueue\tWait\tMaxRSS\tAttempts\tOutcome\n"

const jobLogColumns, parallelColumns = 15, 9

// entry is one line of the job log. Times that are not known are negative and written as -1.
type entry struct {
	seq           int64
	start         time.Time
	wall          time.Duration
	received      int64 // bytes on standard output
	exit, signal  int
	command       string // one line
	cpu, runQueue time.Duration
	maxRSS        int64
	attempts      int
	outcome       tandem.Outcome
}

// wait is the time of the command without a processor and without wanting one.
func (e *entry) wait() time.Duration {
	if e.cpu < 0 {
		return -1
	}
	return max(0, e.wall-e.cpu-max(0, e.runQueue))
}

func (e *entry) append(b []byte) []byte {
	b = strconv.AppendInt(b, e.seq, 10)
	b = append(b, "\t:\t"...)
	b = fmt.Appendf(b, "%.3f\t%10.3f\t0\t%d\t%d\t%d\t", float64(e.start.UnixMicro())/1e6, e.wall.Seconds(), e.received, e.exit, e.signal)
	b = append(b, e.command...)
	for _, d := range []time.Duration{e.cpu, e.runQueue, e.wait()} {
		if d < 0 {
			b = append(b, "\t-1"...)
			continue
		}
		b = append(b, '\t')
		b = strconv.AppendFloat(b, d.Seconds(), 'f', 6, 64)
	}
	b = fmt.Appendf(b, "\t%d\t%d\t%s\n", e.maxRSS, e.attempts, e.outcome)
	return b
}

// JobLog is a log of what ended, a line each. The lines of one moment are written at once, before their output is.
type JobLog struct {
	file *os.File
	path string
	buf  []byte
	done map[int64]uint64 // of the runs before: the number of an input → hash of its command line, or 0 where the log does not hold ours
	seed maphash.Seed
}

// Resume says what to do with a log that is there.
type Resume uint8

const (
	Afresh   Resume = iota // a new log replaces it
	SkipDone               // inputs in it are not run again, however they ended: GNU parallel's --resume
	SkipOK                 // those that did not end well are run again: --resume-failed
)

// OpenJobLog opens a log to write, and reads it first when a run before is to be resumed.
func OpenJobLog(path string, how Resume) (*JobLog, error) {
	l := &JobLog{path: path, seed: maphash.MakeSeed(), done: map[int64]uint64{}}
	fail := func(msg string, err error) (*JobLog, error) {
		return nil, &tandem.Error{Op: "open the job log", On: path, Kind: tandem.KindSink, Message: msg, Err: err}
	}
	flags := os.O_RDWR | os.O_CREATE | os.O_APPEND
	if how == Afresh {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return fail(cause(err), err)
	}
	l.file = f
	empty := true
	if how != Afresh {
		n, err := l.read(f, how)
		if err != nil {
			f.Close()
			return fail(err.Error(), err)
		}
		empty = n == 0
	}
	if empty {
		l.buf = append(l.buf, jobLogHead...)
		if err := l.flush(); err != nil {
			f.Close()
			return nil, err
		}
	}
	return l, nil
}

func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// read takes in the lines of earlier runs; n is how many there were. A last line without its end was being written when a run was killed: its
// input runs again.
func (l *JobLog) read(r io.Reader, how Resume) (n int, err error) {
	in, at := bufio.NewReaderSize(r, 256<<10), int64(0)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) > 0 {
				return n, l.file.Truncate(at)
			}
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n++
		at += int64(len(line))
		if n == 1 && bytes.HasPrefix(line, []byte("Seq\t")) || len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), "\t")
		if len(f) < parallelColumns {
			return n, fmt.Errorf("line %d is no line of a job log: %d columns, want %d", n, len(f), parallelColumns)
		}
		seq, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil || seq < 1 {
			return n, fmt.Errorf("line %d is no line of a job log: %q is no number of an input", n, f[0])
		}
		if how == SkipOK && (f[6] != "0" || f[7] != "0") {
			delete(l.done, seq) // the last line about an input counts
			continue
		}
		hash := uint64(0)
		if len(f) == jobLogColumns {
			hash = l.hash(f[8])
		}
		l.done[seq] = hash
	}
}

func (l *JobLog) hash(command string) uint64 { return maphash.String(l.seed, command) | 1 }

// Done says whether an earlier run did this input. It fails when that ran another command: then these are other inputs. command may be nil.
func (l *JobLog) Done(seq int64, command func() string) (bool, error) {
	hash, ok := l.done[seq]
	if !ok || hash == 0 || command == nil {
		return ok, nil
	}
	if now := command(); l.hash(now) != hash {
		return true, &tandem.Error{Op: "resume from", On: l.path, Kind: tandem.KindInvalid, Message: fmt.Sprintf("input %d ran another command then; now it is: %s", seq, now),
			Hint: "give the same inputs in the same order and the same command, or begin a new log"}
	}
	return true, nil
}

func (l *JobLog) add(e *entry) { l.buf = e.append(l.buf) }

func (l *JobLog) forget() { l.buf = l.buf[:0] }

func (l *JobLog) flush() error {
	if len(l.buf) == 0 {
		return nil
	}
	_, err := l.file.Write(l.buf)
	l.buf = l.buf[:0]
	if err != nil {
		return &tandem.Error{Op: "write the job log", On: l.path, Kind: tandem.KindSink, Message: cause(err), Err: err}
	}
	return nil
}

// Close closes the file.
func (l *JobLog) Close() error {
	err := l.flush()
	if cerr := l.file.Close(); err == nil && cerr != nil {
		err = &tandem.Error{Op: "close the job log", On: l.path, Kind: tandem.KindSink, Message: cause(cerr), Err: cerr}
	}
	return err
}
