# Two commands matter: `make demo` builds epwatch and shows what it does, `make test` installs what the tests need and runs
# all of them. Building needs Go alone; the compiled BPF programs are part of the repository.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Programs and caches of the build; git ignores the folder.
bin := .cache/bin
sudo := $(shell test "$$(id -u)" = 0 || echo sudo)
settings := EPWATCH_REQUIRE,EPWATCH_BINARY,EPWATCH_REAL_SECONDS,EPWATCH_REAL_ATTACHES
with_sudo := $(if $(sudo),-exec '$(sudo) --preserve-env=$(settings)')

# The packages whose tests need privileges, or a kernel of their own.
kernel_packages := ./tracer ./cmd/epwatch ./server ./internal/sockdiag ./internal/proc
host_packages = $(foreach p,$(kernel_packages),$(if $(wildcard $(p)/*_test.go),$(p)))
# The servers that epwatch is held against, and what it is compared with. Any node and python3 will do.
real_programs := bpftool iproute2 util-linux strace nginx redis-server haproxy memcached \
	$(if $(shell command -v node),,nodejs) $(if $(shell command -v python3),,python3)
objects = $(wildcard tracer/*_bpfel.go tracer/*_bpfel.o)

.PHONY: demo build generate generate-check format lint test test-unit test-host test-real test-vm docs bench clean

demo: build
	$(sudo) ./epwatch trace et-partial

build:
	CGO_ENABLED=0 go build -o epwatch ./cmd/epwatch

generate:
	@tools/need clang-19 llvm-19 libbpf-dev
	go generate ./...

# The copies are there for a tree with changes of its own, where asking git would say nothing.
generate-check:
	@rm -rf .cache/generated
	mkdir -p .cache/generated
	cp $(objects) .cache/generated/
	$(MAKE) --no-print-directory generate
	for f in $(objects); do
		cmp "$$f" ".cache/generated/$${f##*/}" || differs=yes
	done
	if [[ $${differs:-} ]]; then
		clang-19 --version | head -1
		echo "regenerating: tracer/ was not what bpf/ compiles to (it is now: commit it)" >&2
		exit 1
	fi

format:
	@tools/need clang-format-19
	gofmt -w .
	clang-format-19 -i bpf/*.[ch]

lint: $(bin)/golangci-lint
	@tools/need clang-format-19
	clang-format-19 --dry-run -Werror bpf/*.[ch]
	unformatted=$$(gofmt -l .)
	if [[ $$unformatted ]]; then echo "not in gofmt's form: $$unformatted (run: make format)" >&2; exit 1; fi
	go vet ./...
	$(bin)/golangci-lint run

# Everything; cheap and telling first.
test:
	@tools/need clang-19 llvm-19 libbpf-dev clang-format-19 gcc libc6-dev bpftool qemu-system-x86
	for step in test-unit lint generate-check test-host test-vm; do
		echo "== $$step"
		$(MAKE) --no-print-directory $$step
	done

# Without privileges in mind: what needs them skips by -short, and EPWATCH_REQUIRE has no say.
test-unit: $(bin)/gotestsum
	@EPWATCH_REQUIRE= $(bin)/gotestsum --format pkgname --hide-summary skipped -- -short -race -timeout 10m ./...

# On this machine's own kernel, as root, one package after the other: they would see each other's programs.
test-host: $(bin)/gotestsum
	@tools/need bpftool
	$(bin)/gotestsum --format pkgname -- -count=1 -p 1 -timeout 20m $(with_sudo) $(host_packages)

# Against nginx, redis, haproxy, memcached, node, Go and Python under load; two to three minutes of a whole machine.
test-real: $(bin)/gotestsum build
	@tools/need $(real_programs)
	EPWATCH_BINARY=$(CURDIR)/epwatch $(bin)/gotestsum --format pkgname -- -count=1 -timeout 20m $(with_sudo) ./test/real

# One kernel, one test: make test-vm VM="-kernels 6.12 -run TestTrace". The flags: go run ./test/vm -help.
test-vm:
	@tools/need qemu-system-x86 gcc libc6-dev
	go run ./test/vm $(VM)
	$(if $(VM),,go run ./test/hooks -check)

# The pages of the checks say what epwatch explain says, the page of hooks what the last VM run saw to fire.
docs:
	go run ./test/pages
	go run ./test/hooks

# What observation costs; best on a machine that does nothing else.
bench: build
	@tools/need redis-server redis-tools nginx wrk strace bpftrace procps
	mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
	go run ./test/bench -markdown docs/benchmarks.md

$(bin)/golangci-lint: tools/go.mod
	cd tools && go build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(bin)/gotestsum: tools/go.mod
	cd tools && go build -o ../$@ gotest.tools/gotestsum

clean:
	rm -rf epwatch .cache
