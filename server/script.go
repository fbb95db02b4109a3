package server

import "time"

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
	// Open opens one more connection.
	Open
	// SendEnd sends Step.Text and the end of the stream in one segment.
	SendEnd
	// Finish ends the stream and keeps the connection for what comes back.
	Finish
	// Take takes what comes until Step.Bytes have come.
	Take
	// TakeEnd takes what comes until the server ends the connection, in order or with a reset.
	TakeEnd
)

// Step is one step of a client's script.
type Step struct {
	Action Action
	Conn   int // which connection, counted from 0; 0 is open from the beginning
	Text   string
	Bytes  int
	Least  time.Duration // how long a Rest takes at least
	Moment string        // reached when the step is done, empty for none
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

// What the clients of the gallery do besides, each on the connection of that number.

func open(conn int) Step                 { return Step{Action: Open, Conn: conn} }
func sendOn(conn int, text string) Step  { return Step{Action: Send, Conn: conn, Text: text} }
func sendEnd(conn int, text string) Step { return Step{Action: SendEnd, Conn: conn, Text: text} }
func finish(conn int) Step               { return Step{Action: Finish, Conn: conn} }
func take(conn, bytes int) Step          { return Step{Action: Take, Conn: conn, Bytes: bytes} }
func takeEnd(conn int) Step              { return Step{Action: TakeEnd, Conn: conn} }
func closeOn(conn int) Step              { return Step{Action: Close, Conn: conn} }
func pause() Step                        { return Step{Action: Rest} }

// aSecond rests for what is judged by the second, however short the time-out is.
func aSecond() Step {
	return Step{Action: Rest, Least: 1500 * time.Millisecond, Moment: BeforeInterrupt}
}
