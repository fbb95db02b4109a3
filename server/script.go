package server

// Action is what a client does in one step.
type Action uint8

const (
	// Send sends Step.Text with one call.
	Send Action = iota
	// Wait prints what comes until nothing has come for the time-out.
	Wait
	// Close closes the connection.
	Close
	// Rest does nothing for the time-out: time for a fault to grow old enough to be called one.
	Rest
)

// Step is one step of a client's script.
type Step struct {
	Action Action
	Text   string
	Moment string // reached when the step is done
}

// The moments of a script, as given to ClientOptions.OnStep. The notes looked at the socket table at those that end a wait,
// and after the close.
const (
	// Connected: the connection is there and nothing was sent. Who needs the server to have registered the connection
	// before anything arrives must hold the client here until the server has printed its accept line.
	Connected       = "after connecting"
	AfterSend       = "after a send"
	AfterFirstWait  = "after the first wait"
	AfterSecondWait = "after the second wait"
	AfterClose      = "after the client's close"
	BeforeInterrupt = "before the interrupt"
)

func send(text string) Step   { return Step{Action: Send, Text: text, Moment: AfterSend} }
func wait(moment string) Step { return Step{Action: Wait, Moment: moment} }
func closing() Step           { return Step{Action: Close, Moment: AfterClose} }
func rest(moment string) Step { return Step{Action: Rest, Moment: moment} }
