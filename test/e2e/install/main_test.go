package install

import (
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
