package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
)

// TestProxyPortInUse holds that a taken port is told at once: HAProxy would share it with another HAProxy.
func TestProxyPortInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, flag := range []string{"--http-address", "--https-address"} {
		var stderr bytes.Buffer
		args := []string{"proxy", "--from", t.TempDir(), "--haproxy", "true", "--metrics-address", "0", "--probe-address", "0"}
		args = append(args, "--http-address", "", "--https-address", "", flag, listener.Addr().String())
		code := execute(args, strings.NewReader(""), &bytes.Buffer{}, &stderr)
		if code != exitDenied || !strings.HasPrefix(stderr.String(), "drawbridge: "+flag+": ") || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("exit %d, %s", code, stderr.String())
		}
	}
}
