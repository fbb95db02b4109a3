package tracer
import _ "github.com/epwatch/epwatch/test/vm/plan"
