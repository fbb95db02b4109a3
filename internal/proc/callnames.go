package proc

import (
	"strconv"
	"strings"
	"sync"
)

// CallName returns the name of a system call of this architecture, or its number in words where it has none here.
func CallName(number int64) string {
	if name := callTable()[number]; name != "" {
		return name
	}
	return "call " + strconv.FormatInt(number, 10)
}

var callTable = sync.OnceValue(func() map[int64]string {
	table := make(map[int64]string)
	next := int64(0)
	for word := range strings.FieldsSeq(callNames) {
		if n, err := strconv.ParseInt(word, 10, 64); err == nil {
			next = n
			continue
		}
		table[next] = word
		next++
	}
	return table
})
