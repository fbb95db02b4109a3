package render

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// style is a terminal's "select graphic rendition" parameter.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "1;31"
	yellow style = "1;33"
	green  style = "32"
	cyan   style = "36"
	violet style = "35"
)

// palette paints words when it is on.
type palette bool

func (p palette) paint(s style, words string) string {
	if !p || s == plain || words == "" {
		return words
	}
	return "\x1b[" + string(s) + "m" + words + "\x1b[0m"
}

// Escape returns s with everything that is not printable written as an escape, so that a process name or a
// program's output cannot steer the terminal. Backslashes stay, because much that comes here was escaped before.
func Escape(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x`)
			b.WriteString(hexByte(s[0]))
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80 && !unicode.IsPrint(r):
			b.WriteString(`\x`)
			b.WriteString(hexByte(s[0]))
		case !unicode.IsPrint(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

func printable(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func hexByte(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

// width counts the columns of s; every rune that is used here takes one.
func width(s string) int { return utf8.RuneCountInString(s) }

func padRight(s string, n int) string {
	if w := width(s); w < n {
		return s + strings.Repeat(" ", n-w)
	}
	return s
}

func padLeft(s string, n int) string {
	if w := width(s); w < n {
		return strings.Repeat(" ", n-w) + s
	}
	return s
}

// Wrap breaks s at spaces into lines of at most n columns. A longer word stands alone on its line, and runs of
// spaces inside a line stay as they are.
func Wrap(s string, n int) []string {
	var lines []string
	for width(s) > n {
		cut := breakAt(s, n)
		if cut < 0 {
			break
		}
		lines = append(lines, strings.TrimRight(s[:cut], " "))
		s = strings.TrimLeft(s[cut:], " ")
	}
	return append(lines, s)
}

// breakAt returns the place of the last space within the first n+1 columns, of the first one after them when
// there is none, or -1.
func breakAt(s string, n int) int {
	column, cut := 0, -1
	for i, r := range s {
		if r == ' ' && i > 0 {
			if column > n && cut > 0 {
				return cut
			}
			cut = i
			if column > n {
				return cut
			}
		}
		column++
	}
	return cut
}
