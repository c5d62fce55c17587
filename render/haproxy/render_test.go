package haproxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/render/model"
)

func runHAProxy(arguments ...string) ([]byte, error) {
	return exec.Command(program, arguments...).CombinedOutput()
}

// FuzzRender takes bytes for the texts of a model. Whatever they are: no panic, one bad route leaves the others, the
// map has only lines of two words, it reads back to the model, and haproxy.cfg knows nothing of it.
func FuzzRender(f *testing.F) {
	for i, text := range hostile {
		f.Add(text, "/"+text, text+"/"+text, "n/s", text, uint16(i))
	}
	f.Add("a.test", "/a", "/b", "n/s", "b.test", uint16(0xffff))
	f.Add("*.a.test", "/%c3%A9;x", "/", "n/s.t", "b.test:80", uint16(0x1234))
	o := Options{RunDir: "/run/x", HTTP: []string{":80"}}
	config, err := Config(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, path, target, service, hostHeader string, bits uint16) {
		u := model.Upstream{
			Service: service, Host: hostHeader, ServerName: strings.TrimSuffix(hostHeader, "."), Protocol: model.Protocol(bits & 7), Name: name, Port: bits,
			Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(bits)<<7))), bits)},
		}
		good := host("good.test", prefix("/", to("n/good", netip.MustParseAddrPort("192.0.2.1:80"))))
		m := &model.Model{
			Hosts: []model.Host{
				{Name: name, Certificate: service, Routes: []model.Route{
					{Path: path, Match: model.Match(bits >> 3 & 3), Rewrite: model.Rewrite{Mode: model.RewriteMode(bits >> 5 & 3), Path: target}, Upstream: u},
					{Path: target, Match: model.Prefix, Upstream: u},
					{Path: "/", Match: model.Prefix, Upstream: to("n/x", netip.MustParseAddrPort("[2001:db8::1]:81"), netip.MustParseAddrPort("192.0.2.2:80"))},
				}},
			},
			Default:      u,
			Certificates: []model.Certificate{{ID: service, PEM: model.Secret(path)}},
		}
		if name != good.Name {
			m.Hosts = append(m.Hosts, good)
		}
		table := model.Table{name: {netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("::ffff:192.0.2.3")}}
		s, problems := Render(m, table)
		for _, p := range problems {
			if strings.ContainsAny(p.String(), "\r\n\x00") {
				t.Errorf("a problem of several lines: %q", p.String())
			}
		}
		for line := range bytes.Lines(s.Map()) {
			if len(strings.Fields(string(line))) != 2 || bytes.ContainsAny(line, "\r\x00\"\\#<") || len(line) > 8000 {
				t.Errorf("line %q", line)
			}
		}
		got, err := Parse(s.Map())
		if err != nil {
			t.Fatal(err)
		}
		if want := settled(t, m, table); !reflect.DeepEqual(got, want) {
			t.Errorf("reads back to\n%+v\nwant\n%+v", got, want)
		}
		if name != good.Name && !bytes.Contains(s.Map(), []byte("good.test 1|http|192.0.2.1|80|||n/good\n")) {
			t.Error("the good host is gone")
		}
		if again, err := Config(o); err != nil || !bytes.Equal(config, again) {
			t.Error("haproxy.cfg changed")
		}
	})
}

// FuzzParse reads what is no map.
func FuzzParse(f *testing.F) {
	f.Add([]byte("a.test 1|http|192.0.2.1|80|||n/s\n"))
	f.Add([]byte("0x1 a.test V\n0x2 Pa.test/ m|https|2|ab|h|s|n/s|/t|192.0.2.1|80;192.0.2.2|80"))
	f.Add([]byte("a.test m|http|0||||n/s|"))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = Parse(text) })
}

// TestUpdateIsRender changes hosts at random: what Update makes step by step is what Render makes at once, and a
// change of one host touches no line of another.
func TestUpdateIsRender(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	hosts := map[string]model.Host{}
	var s State
	for range 300 {
		name := fmt.Sprintf("h%d.test", random.IntN(20))
		if random.IntN(4) == 0 {
			name = "*." + name
		}
		before := string(s.Map())
		if random.IntN(3) == 0 {
			delete(hosts, name)
			s, _ = s.Update(nil, []string{name}, nil)
		} else {
			h := host(name, prefix("/", to("n/s", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(255) + 1)}), 80))))
			if random.IntN(2) == 0 {
				h.Routes = append(h.Routes, exact("/x", h.Routes[0].Upstream))
			}
			hosts[name] = h
			s, _ = s.Update([]model.Host{h}, nil, nil)
		}
		m := &model.Model{}
		for _, h := range hosts {
			m.Hosts = append(m.Hosts, h)
		}
		whole, problems := Render(m, nil)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if string(whole.Map()) != string(s.Map()) {
			t.Fatalf("after %s:\n%s\nwant\n%s", name, s.Map(), whole.Map())
		}
		for line := range strings.Lines(before) {
			if !strings.Contains(line, name) && !strings.Contains(string(s.Map()), line) {
				t.Fatalf("%s touched %q", name, line)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	good := Options{RunDir: "/run/drawbridge", HTTP: []string{":8080"}}
	if _, err := Config(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"a relative folder":   func(o *Options) { o.RunDir = "run" },
		"a long folder":       func(o *Options) { o.RunDir = "/" + strings.Repeat("x", 90) },
		"a space":             func(o *Options) { o.RunDir = "/run/a b" },
		"a newline":           func(o *Options) { o.CAFile = "/ca\n  lua-load /x" },
		"an environment":      func(o *Options) { o.CAFile = "/${HOME}" },
		"no address":          func(o *Options) { o.HTTP = nil },
		"a name for address":  func(o *Options) { o.HTTP = []string{"localhost:80"} },
		"port 0":              func(o *Options) { o.HTTP = []string{":0"} },
		"words behind a port": func(o *Options) { o.HTTPS = []string{":80 ssl crt x"} },
		"a bad metrics":       func(o *Options) { o.Metrics = "9100" },
		"too many threads":    func(o *Options) { o.Threads = 65 },
	} {
		o := good
		change(&o)
		if text, err := Config(o); err == nil {
			t.Errorf("%s: accepted: %.100q", name, text)
		}
	}
}

func TestSecretsStayHidden(t *testing.T) {
	text := authority(t).issuePEM(t, "x.test")
	s, _ := Render(&model.Model{Certificates: []model.Certificate{{ID: "n/x", PEM: text}}}, nil)
	if printed := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(printed, "PRIVATE") {
		t.Error("the state prints its keys")
	}
	_, problems := Render(&model.Model{Certificates: []model.Certificate{{ID: "n/x", PEM: text[:len(text)-200]}}}, nil)
	if len(problems) != 1 || strings.Contains(problems[0].String(), string(text[len(text)-300:len(text)-250])) {
		t.Errorf("problems: %v", problems)
	}
}

// large is a model of many hosts: most have one path and one address, some more.
func large(n int) *model.Model {
	m := &model.Model{Hosts: make([]model.Host, n)}
	for i := range n {
		u := to(fmt.Sprintf("team-%d/site-%d", i%100, i), netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 443))
		u.Protocol, u.Host, u.ServerName = model.HTTPS, fmt.Sprintf("site-%d.example.com", i), fmt.Sprintf("site-%d.example.com", i)
		h := host(fmt.Sprintf("h%05d.example.test", i), prefix("/", u))
		if i%10 == 0 {
			h.Routes = append(h.Routes, prefix("/api", u))
		}
		m.Hosts[i] = h
	}
	return m
}

func BenchmarkRender50k(b *testing.B) {
	m := large(50_000)
	for b.Loop() {
		s, problems := Render(m, nil)
		if len(problems) > 0 || len(s.Map()) == 0 {
			b.Fatal(problems)
		}
	}
}

func BenchmarkUpdateOneOf50k(b *testing.B) {
	m := large(50_000)
	s, _ := Render(m, nil)
	for b.Loop() {
		s, _ = s.Update(m.Hosts[1000:1001], nil, nil)
	}
}

func BenchmarkCompareOneOf50k(b *testing.B) {
	m := large(50_000)
	s, _ := Render(m, nil)
	changed := m.Hosts[1000]
	changed.Routes = changed.Routes[:1]
	after, _ := s.Update([]model.Host{changed}, nil, nil)
	for b.Loop() {
		if d := compare(s, after); d.removed == 0 {
			b.Fatal(d)
		}
	}
}

func BenchmarkMap50k(b *testing.B) {
	s, _ := Render(large(50_000), nil)
	for b.Loop() {
		b.SetBytes(int64(len(s.Map())))
	}
}
