// Package symbol turns addresses into names: of the functions of a process, from the files that it executes, and of the
// kernel's. It guesses nothing: where a file has no symbols the name is that of the file, and where there is no file
// there is none. Kernel addresses go in and never come out.
package symbol

import (
	"fmt"
	"os"
	"path"
	"sort"
	"strings"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
)

// Resolver names addresses. It remembers the files that it has read. It is used by one goroutine.
type Resolver struct {
	kernel functions
	images map[file]*image
}

// file names a file for good, whatever path it has.
type file struct {
	device string
	inode  uint64
}

// maxImages bounds how many files are remembered.
const maxImages = 256

// New returns a Resolver that knows the kernel's functions. It has to be made while /proc/kallsyms may be read (CAP_SYSLOG);
// where it may not, the kernel's functions have no names.
func New() *Resolver {
	return &Resolver{kernel: readKernel("/proc/kallsyms"), images: make(map[file]*image)}
}

// Warm reads the files that a process executes now, so that naming its addresses takes no time later. What cannot be read has
// no names.
func (r *Resolver) Warm(pid uint32) {
	mappings, err := proc.CodeMappings(pid)
	if err != nil {
		return
	}
	for i := range mappings {
		r.image(pid, &mappings[i])
	}
}

// Stack names the addresses of a process's stack and of the kernel's, the innermost first in both.
func (r *Resolver) Stack(pid uint32, user, kernel []uint64) *event.Stack {
	s := &event.Stack{User: []string{}, Kernel: r.kernelNames(kernel)}
	if len(user) == 0 {
		return s
	}
	// A process maps files as it goes, so what was true for the last stack may not be for this one.
	mappings, err := proc.CodeMappings(pid)
	if err != nil {
		mappings = nil // it has ended
	}
	for i, address := range user {
		if i > 0 {
			address-- // a return address belongs to the call before it
		}
		s.User = append(s.User, r.userName(pid, mappings, address))
	}
	return s
}

func (r *Resolver) userName(pid uint32, mappings []proc.Mapping, address uint64) string {
	i := sort.Search(len(mappings), func(i int) bool { return mappings[i].End > address })
	if i == len(mappings) || mappings[i].Start > address {
		return fmt.Sprintf("0x%x", address)
	}
	m := &mappings[i]
	if m.Path == "" {
		return fmt.Sprintf("0x%x (code without a file)", address)
	}
	where := path.Base(m.Path)
	offset := address - m.Start + m.Offset
	if img := r.image(pid, m); img != nil {
		if name := img.name(offset); name != "" {
			if line := img.line(offset); line != "" {
				where = line
			}
			return name + " (" + where + ")"
		}
	}
	return fmt.Sprintf("%s+0x%x", where, offset)
}

// image returns what is known of a mapped file, nil when it has nothing to tell.
func (r *Resolver) image(pid uint32, m *proc.Mapping) *image {
	if m.Inode == 0 || strings.HasPrefix(m.Path, "[") {
		return nil
	}
	key := file{m.Device, m.Inode}
	img, known := r.images[key]
	if known {
		return img
	}
	if len(r.images) >= maxImages {
		clear(r.images)
	}
	if name := openable(pid, m); name != "" {
		img = readImage(name)
	}
	r.images[key] = img
	return img
}

// openable returns a path under which a mapped file can be opened. One that was deleted, by an upgrade for example, can be
// only when it is the program itself; its old path may lead to its successor.
func openable(pid uint32, m *proc.Mapping) string {
	if !m.Deleted {
		return proc.RootPath(pid, m.Path)
	}
	exe := proc.ExePath(pid)
	if target, err := os.Readlink(exe); err != nil || target != m.Path+" (deleted)" {
		return ""
	}
	return exe
}

// kernelNames leaves out how the stack was taken: tracing is on top of it. Where the kernel hides its addresses there is nothing
// to say.
func (r *Resolver) kernelNames(addresses []uint64) []string {
	names := []string{}
	if len(r.kernel) == 0 {
		return names
	}
	for _, address := range addresses {
		name := r.kernel.at(address)
		if name == "" {
			name = "?"
		}
		if isTracing(name) {
			names = names[:0]
			continue
		}
		names = append(names, name)
	}
	return names
}

func isTracing(name string) bool {
	for _, prefix := range []string{"bpf_", "__bpf_", "__traceiter_", "___bpf_prog", "perf_", "__perf_", "trace_event_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
