package tracer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// samplesPerSecond is how often a processor's clock ticks. It is no divisor of the frequencies that programs like to work at.
const samplesPerSecond = 99

// clocks are the software clocks of all processors. They need no counters of the hardware.
type clocks []int

// Close takes the program off them.
func (c clocks) Close() error {
	var errs []error
	for _, fd := range c {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

func openClock(cpu int) (int, error) {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Sample: samplesPerSecond,
		Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Bits: unix.PerfBitFreq | unix.PerfBitDisabled,
	}
	return unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// attachClocks has a program run at each tick of each processor that is online now. The ioctl is older than links to such
// events (5.15).
func attachClocks(p *ebpf.Program) (io.Closer, error) {
	cpus, err := onlineProcessors()
	if err != nil {
		return nil, err
	}
	var all clocks
	for _, cpu := range cpus {
		fd, err := openClock(cpu)
		if err == nil {
			all = append(all, fd)
			err = errors.Join(unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, p.FD()), unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0))
		}
		if err != nil {
			all.Close()
			return nil, fmt.Errorf("opening the clock of processor %d: %w", cpu, err)
		}
	}
	return all, nil
}

// tryClock opens a clock and closes it again.
func tryClock() verdict {
	cpus, err := onlineProcessors()
	if err != nil || len(cpus) == 0 {
		return verdict{Unknown, "which processors are online could not be read", ""}
	}
	fd, err := openClock(cpus[0])
	if err == nil {
		unix.Close(fd)
		return verdict{answer: Yes}
	}
	if missing := missingCapabilities(); len(missing) > 0 {
		return verdict{Unknown, "not allowed to open a processor's clock", "needs " + strings.Join(missing, " and ") + ", or root"}
	}
	return verdict{No, "perf_event_open: " + firstLine(err), "CONFIG_PERF_EVENTS, and no policy that forbids perf_event_open"}
}

// onlineProcessors reads the kernel's list, "0-3,8".
func onlineProcessors() ([]int, error) {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, fmt.Errorf("listing processors: %w", err)
	}
	return parseProcessors(strings.TrimSpace(string(text)))
}

func parseProcessors(list string) ([]int, error) {
	var cpus []int
	for word := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(word, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, lastErr := strconv.Atoi(to)
		if err = errors.Join(err, lastErr); err != nil || last < first {
			return nil, fmt.Errorf("listing processors: not understood: %q", list)
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// noNames stands where stacks are only tried.
func noNames(uint32, []uint64, []uint64) *event.Stack { return nil }
