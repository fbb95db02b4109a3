package symbol

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
)

// readKernel reads the kernel's functions, none where their addresses are hidden.
func readKernel(path string) functions {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []function
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		if fn, ok := parseKernelSymbol(lines.Bytes()); ok {
			list = append(list, fn)
		}
	}
	return sorted(list)
}

// parseKernelSymbol reads "address type name", behind which a module's name may follow, and takes what is code and has an
// address.
func parseKernelSymbol(line []byte) (function, bool) {
	fields := bytes.Fields(line)
	if len(fields) < 3 || len(fields[1]) != 1 || strings.IndexByte("tTwW", fields[1][0]) < 0 {
		return function{}, false
	}
	address, err := strconv.ParseUint(string(fields[0]), 16, 64)
	if err != nil || address == 0 {
		return function{}, false
	}
	return function{start: address, name: string(fields[2])}, true
}
