package symbol

import (
	"debug/elf"
	"debug/gosym"
	"path"
	"strconv"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// image is a file that processes execute.
type image struct {
	segments  []segment
	functions functions
	lines     *gosym.Table // of a Go program, else nil
}

// segment says where a part of the file is in the addresses that its symbols have.
type segment struct{ offset, size, address uint64 }

// readImage reads the symbols of a file, nil when it has none.
func readImage(name string) *image {
	e, err := elf.Open(name)
	if err != nil {
		return nil
	}
	defer e.Close()
	img := &image{}
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			img.segments = append(img.segments, segment{offset: p.Off, size: p.Filesz, address: p.Vaddr})
		}
	}
	img.functions = functionsOf(e)
	img.lines = goLines(e)
	if len(img.functions) == 0 && img.lines == nil {
		return nil
	}
	return img
}

// functionsOf reads both tables: a stripped library has its exported functions still.
func functionsOf(e *elf.File) functions {
	static, _ := e.Symbols() // no table, no names
	dynamic, _ := e.DynamicSymbols()
	list := make([]function, 0, len(static)+len(dynamic))
	for _, table := range [][]elf.Symbol{static, dynamic} {
		for _, s := range table {
			if kind := elf.ST_TYPE(s.Info); (kind == elf.STT_FUNC || kind == elf.STT_GNU_IFUNC) && s.Value != 0 && s.Section != elf.SHN_UNDEF {
				list = append(list, function{start: s.Value, size: s.Size, name: s.Name})
			}
		}
	}
	return sorted(list)
}

// address translates a place in the file to the addresses of the symbols.
func (img *image) address(offset uint64) (uint64, bool) {
	for _, s := range img.segments {
		if offset >= s.offset && offset-s.offset < s.size {
			return offset - s.offset + s.address, true
		}
	}
	return 0, false
}

// name returns the function at a place in the file, empty for none.
func (img *image) name(offset uint64) string {
	address, ok := img.address(offset)
	if !ok {
		return ""
	}
	if fn, _, _ := img.goLine(address); fn != "" {
		return fn
	}
	return readable(img.functions.at(address))
}

// maxName is how many bytes of a name are shown. A file may say anything.
const maxName = 200

// readable turns a C++ or Rust name into what stands in the source, without the arguments: they are long and say little.
func readable(name string) string {
	if len(name) <= 16*maxName {
		name = demangle.Filter(name, demangle.NoParams, demangle.MaxLength(maxNameBits))
	}
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "") + "..."
	}
	return name
}

// maxNameBits bounds what is made of a mangled name, which can be a bomb, to a power of two above maxName.
const maxNameBits = 10

// line returns the source line at a place in the file, of a Go program.
func (img *image) line(offset uint64) string {
	address, ok := img.address(offset)
	if !ok {
		return ""
	}
	_, file, line := img.goLine(address)
	if file == "" {
		return ""
	}
	return path.Base(file) + ":" + strconv.Itoa(line)
}
