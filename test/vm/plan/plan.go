// Package plan is what the host and the init of a test VM agree on: the plan that the host puts into the initramfs, and the marks that the
// init writes between the outputs of the test binaries. It imports the standard library only, because it is linked into the guest.
package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Path is where the plan lies in the guest.
const Path = "/plan.json"

// Plan is everything that the guest's init has to do before it powers off.
type Plan struct {
	Modules []Module `json:"modules"` // in the order of loading
	Env     []string `json:"env"`     // KEY=VALUE, for every suite
	Suites  []Suite  `json:"suites"`
}

// Module is a kernel module to load.
type Module struct {
	Path       string `json:"path"`
	Compressed bool   `json:"compressed"` // the kernel has to decompress the file itself
}

// Suite is one program to run, as a rule a test binary.
type Suite struct {
	Name    string        `json:"name"`
	Program string        `json:"program"`
	Args    []string      `json:"args"`
	Dir     string        `json:"dir"`
	Timeout time.Duration `json:"timeout"` // the init kills what runs longer
}

// Step says what a mark stands for.
type Step string

// The steps in the order in which a healthy guest writes them; a guest without Done died.
const (
	Start Step = "start" // a suite begins
	Exit  Step = "exit"  // a suite has ended
	Done  Step = "done"  // every suite has ended
)

// Mark is one line that the init writes into the stream of test output.
type Mark struct {
	Step    Step          `json:"step"`
	Suite   string        `json:"suite,omitempty"`
	Code    int           `json:"code,omitempty"`    // Exit: the exit status, -1 if the suite was killed or did not start
	Problem string        `json:"problem,omitempty"` // Exit: what the exit status does not tell
	Took    time.Duration `json:"took,omitempty"`    // Exit
}

// prefix begins with a control byte so that no test prints it by chance.
const prefix = "\x1eepwatch-vm "

// Line returns the mark as a line of its own, also after output that did not end its last line.
func (m Mark) Line() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a mark: %w", err)
	}
	return fmt.Appendf(nil, "\n%s%s\n", prefix, body), nil
}

// ParseMark returns the mark that line holds, and false for a line of test output.
func ParseMark(line []byte) (Mark, bool) {
	body, found := bytes.CutPrefix(line, []byte(prefix))
	if !found {
		return Mark{}, false
	}
	var m Mark
	if err := json.Unmarshal(body, &m); err != nil {
		return Mark{}, false
	}
	return m, true
}
