package haproxy

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"

	"drawbridge.dev/drawbridge/render/model"
)

// TestAccessLog reads a line for each request as JSON, whatever the client wrote.
func TestAccessLog(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	stdout := os.Stdout
	os.Stdout = write
	r := run(t, func(o *ProxyOptions) { o.AccessLog = true })
	os.Stdout = stdout
	_ = write.Close()
	r.serve(&model.Model{Hosts: []model.Host{host("", prefix("/", to("n/any", site(t, echo("a")))))}}, nil)
	lines := bufio.NewScanner(read)
	for _, test := range []struct {
		request, host, path, service string
		status                       int
	}{
		{"GET /x?y=1 HTTP/1.1\r\nHost: A.test:80\r\nConnection: close\r\n\r\n", "A.test:80", "/x?y=1", "n/any", 200},
		{"GET /\",\"status\":0,\"x\":\"\\ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", "a.test", "/\",\"status\":0,\"x\":\"\\", "n/any", 200},
		{"GET / HTTP/1.1\r\nHost: a\"}{\\.test\r\nConnection: close\r\n\r\n", "a\"}{\\.test", "/", "-", 400},
	} {
		got := r.raw(test.request)
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		var line struct {
			Client, Host, Path, Service string
			Status                      int
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if line.Client != "127.0.0.1" || line.Host != test.host || line.Path != test.path || line.Service != test.service || line.Status != got.status || got.status != test.status {
			t.Errorf("%q: got %d %+v", test.request, got.status, line)
		}
	}
}
