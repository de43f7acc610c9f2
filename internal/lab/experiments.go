package lab

// Experiment is one question and who answers it.
type Experiment struct {
	Name     string
	Title    string
	Question string
	Runtimes []string
	Log      bool // its figures span decades

	in    func(part) error                // the Go side; nil when there is none
	means func(r *Report, row Row) string // what a figure means for a design; empty when nothing
}

// Experiments in the order in which they are run and shown. Each has a file of its own.
var Experiments []Experiment

func init() { // the Go sides look experiments up
	Experiments = []Experiment{
		{"create", "creation", "What does it cost to make one, have it do nothing and see it end?", []string{"go", "python", "java", "node"}, true, createPart, createMeans},
		{"memory", "memory", "How much memory does one take that only waits?", []string{"go", "python", "java", "node"}, true, memoryPart, memoryMeans},
		{"switch", "switching", "How long until the other has the processor and the word? Half of there and back.", []string{"go", "python", "java", "node"}, true, switchPart, switchMeans},
		{"talk", "communication", "What does a message of 64 bytes cost, or a task handed over, with many under way?", []string{"go", "python", "java", "node"}, true, talkPart, talkMeans},
		{"crash", "crash", "One of four dies: how many of the other three go with it, and how long until there is another one?", []string{"go", "python", "java", "node"}, false, crashPart, crashMeans},
		{"cpu", "four computing tasks", "How long do four computing tasks take, one after the other and together?", []string{"go", "python", "java", "node"}, false, cpuPart, cpuMeans},
		{"wait", "four waits", "How long do four waits take, one after the other and together?", []string{"go", "python", "java", "node"}, false, waitPart, waitMeans},
		{"many", "10 000 waits at once", "How long do 10 000 waits of a second take at once, and how much memory has each?", []string{"go", "python", "java", "node"}, true, manyPart, manyMeans},
		{"share", "sharing 256 MB", "How long until another has read an array of 256 MB?", []string{"go", "python", "node"}, true, sharePart, shareMeans},
	}
}

// Names of all experiments.
func Names() (all []string) {
	for _, e := range Experiments {
		all = append(all, e.Name)
	}
	return all
}

// explain gives each row its meaning.
func (r *Report) explain() {
	for i := range r.Rows {
		for _, e := range Experiments {
			if e.Name == r.Rows[i].Experiment {
				r.Rows[i].Means = e.means(r, r.Rows[i])
			}
		}
	}
}
