package symbol

import (
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
)

// maxGoTable bounds what is read of one file. The largest programs have tables of some 50 MB.
const maxGoTable = 256 << 20

// goLines reads the table that Go programs carry for their own tracebacks, stripped or not.
func goLines(e *elf.File) *gosym.Table {
	text := e.Section(".text")
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		section := e.Section(name)
		if section == nil || text == nil {
			continue
		}
		if section.Size > maxGoTable {
			return nil
		}
		data, err := section.Data()
		if err != nil || !soundGoTable(data) {
			return nil
		}
		return newGoTable(data, text.Addr)
	}
	return nil
}

// soundGoTable reports whether a table has room for as many functions and files as it says. Package gosym takes memory for them
// before it looks.
func soundGoTable(data []byte) bool {
	const header = 8
	if len(data) < header {
		return false
	}
	word := int(data[7]) // the size of a pointer
	if word != 4 && word != 8 || len(data) < header+2*word {
		return false
	}
	number := func(at int) uint64 {
		if word == 4 {
			return uint64(binary.LittleEndian.Uint32(data[at:]))
		}
		return binary.LittleEndian.Uint64(data[at:])
	}
	switch binary.LittleEndian.Uint32(data) {
	case 0xfffffff1, 0xfffffff0, 0xfffffffa, 0xfffffffb: // since Go 1.20, 1.18, 1.16, 1.2 (internal/abi, PCLnTabMagic)
	default:
		return false
	}
	// Each function takes two words of four bytes at least. The word behind is the number of files, or from before 1.16 a
	// part of the table.
	functions, files := number(header), number(header+word)
	return functions <= uint64(len(data))/8 && (files <= uint64(len(data)) || binary.LittleEndian.Uint32(data) == 0xfffffffb)
}

// newGoTable reads a table that comes from outside: package gosym panics on some that are broken.
func newGoTable(data []byte, text uint64) (table *gosym.Table) {
	defer func() {
		if recover() != nil {
			table = nil
		}
	}()
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, text))
	if err != nil {
		return nil
	}
	return table
}

func (img *image) goLine(address uint64) (name, file string, line int) {
	if img.lines == nil {
		return "", "", 0
	}
	defer func() {
		if recover() != nil { // see newGoTable
			name, file, line = "", "", 0
		}
	}()
	file, line, fn := img.lines.PCToLine(address)
	if fn == nil {
		return "", "", 0
	}
	return readable(fn.Name), file, line
}
