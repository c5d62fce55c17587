package haproxy

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/render/model"
)

// settled is what a map can hold of a model: checked, addresses for names, sorted as Parse sorts.
func settled(t *testing.T, m *model.Model, table model.Table) model.Model {
	t.Helper()
	s, _ := Render(m, table)
	var out model.Model
	for i := range m.Hosts {
		h := model.Host{Name: m.Hosts[i].Name}
		if !slices.ContainsFunc(s.fragments, func(f fragment) bool { return f.host == h.Name }) {
			continue
		}
		seen := map[Token]bool{}
		for _, given := range m.Hosts[i].Routes {
			r, err := settle(&given, table)
			if err != nil || seen[r.key(Token{})] {
				continue
			}
			seen[r.key(Token{})] = true
			h.Routes = append(h.Routes, unsettle(r))
		}
		slices.SortFunc(h.Routes, func(a, b model.Route) int {
			if c := strings.Compare(a.Path, b.Path); c != 0 {
				return c
			}
			return int(a.Match) - int(b.Match)
		})
		out.Hosts = append(out.Hosts, h)
	}
	slices.SortFunc(out.Hosts, func(a, b model.Host) int { return strings.Compare(a.Name, b.Name) })
	if len(s.otherwise.entries) > 0 {
		given := prefix("/", m.Default)
		r, err := settle(&given, table)
		if err != nil {
			t.Fatal(err)
		}
		out.Default = unsettle(r).Upstream
	}
	return out
}

func unsettle(r route) model.Route {
	return model.Route{
		Path: r.path.text, Match: r.match, Rewrite: model.Rewrite{Mode: r.mode, Path: r.target.text},
		Upstream: model.Upstream{Service: r.service.text, Host: r.host.text, ServerName: r.serverName.text, Protocol: r.protocol, Addresses: r.addresses},
	}
}

// hostile is text that would do harm in a map, a command, a configuration or a log.
var hostile = []string{
	"", " ", "a b", "a\tb", "a\nb", "a\r\nb", "a\x00b", "a|b", "a;b", "a#b", "#", `a"b`, `a'b`, `a\b`, "a<<b", "%[env(HOME)]", "${HOME}",
	"$(id)", "../../etc/passwd", "-x", "a.test\n\nshow info\n", "a.test; disable frontend public", "ANY", "DEFAULT", "W*.test", "V", "1|http|127.0.0.1|22||||", "Px.test/",
	"*", "*.", "*.*.test", "a.*.test", ".a.test", "a..test", "a.test.", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 130) + "test",
	"ümlaut.test", "A.TEST", "a_b.test", "[::1]", "a.test:80", "/../x", "/a//b", "/a/./b", "/a/..", "/a%", "/a%0g", "/a b", "/a\nb", "/a|b", "/a#b", "/a?b",
	"/a\"b", `/a\b`, "/" + strings.Repeat("a", 2000), "/é", "/a\u202eb", "/\x7f", "/%", "//", "/a/ ",
}

// TestHostileText puts each hostile text into each place of a model. Whatever becomes of it, the good host beside it
// is served, the map reads back, haproxy.cfg stays as it is, and the running HAProxy takes it.
func TestHostileText(t *testing.T) {
	r := run(t, nil)
	a := site(t, echo("a"))
	good := host("good.test", prefix("/", to("n/good", a)))
	config, err := os.ReadFile(filepath.Join(r.options.RunDir, "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	pair := authority(t).issuePEM(t, "x.test")
	places := map[string]func(m *model.Model, text string){
		"host": func(m *model.Model, text string) { m.Hosts = append(m.Hosts, host(text, prefix("/", to("n/s", a)))) },
		"path": func(m *model.Model, text string) {
			m.Hosts = append(m.Hosts, host("x.test", prefix(text, to("n/s", a))))
		},
		"exact path": func(m *model.Model, text string) {
			m.Hosts = append(m.Hosts, host("x.test", exact(text, to("n/s", a))))
		},
		"service": func(m *model.Model, text string) { m.Hosts = append(m.Hosts, host("x.test", prefix("/", to(text, a)))) },
		"service name": func(m *model.Model, text string) {
			m.Hosts = append(m.Hosts, host("x.test", prefix("/", to("n/"+text, a))))
		},
		"default": func(m *model.Model, text string) { m.Default = to(text, a) },
		"Host": func(m *model.Model, text string) {
			u := to("n/s", a)
			u.Host = text
			m.Hosts = append(m.Hosts, host("x.test", prefix("/", u)))
		},
		"server name": func(m *model.Model, text string) {
			u := to("n/s", a)
			u.Protocol, u.ServerName = model.HTTPS, text
			m.Hosts = append(m.Hosts, host("x.test", prefix("/", u)))
		},
		"target": func(m *model.Model, text string) {
			x := prefix("/p", to("n/s", a))
			x.Rewrite = model.Rewrite{Mode: model.ReplacePrefix, Path: text}
			m.Hosts = append(m.Hosts, host("x.test", x))
		},
		"upstream name": func(m *model.Model, text string) {
			m.Hosts = append(m.Hosts, host("x.test", prefix("/", model.Upstream{Service: "n/s", Name: text, Port: 80})))
		},
		"zone": func(m *model.Model, text string) {
			ip := netip.MustParseAddr("fe80::1").WithZone(text)
			m.Hosts = append(m.Hosts, host("x.test", prefix("/", to("n/s", netip.AddrPortFrom(ip, 80)))))
		},
		"certificate id": func(m *model.Model, text string) {
			m.Certificates = []model.Certificate{{ID: "n/" + text, PEM: pair}}
			m.Hosts = append(m.Hosts, model.Host{Name: "x.test", Certificate: "n/" + text, Routes: good.Routes})
		},
		"certificate": func(m *model.Model, text string) {
			m.Certificates = []model.Certificate{{ID: "n/x", PEM: model.Secret(text) + "\n\nshow info\n\n" + pair + "\n\n\n" + model.Secret(text)}}
			m.Hosts = append(m.Hosts, model.Host{Name: "x.test", Certificate: "n/x", Routes: good.Routes})
		},
	}
	for place, put := range places {
		t.Run(place, func(t *testing.T) {
			for _, text := range hostile {
				m := &model.Model{Hosts: []model.Host{good}}
				put(m, text)
				s, problems := Render(m, model.Table{text: {a.Addr()}})
				for _, p := range problems {
					if line := p.String(); strings.ContainsAny(line, "\r\n\x00\u202e\x1b") || strings.Contains(line, "PRIVATE") {
						t.Errorf("%q: a problem isn't fit for a log: %q", text, line)
					}
				}
				got, err := Parse(s.Map())
				if err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				if want := settled(t, m, model.Table{text: {a.Addr()}}); !reflect.DeepEqual(got, want) {
					t.Fatalf("%q reads back to\n%+v\nwant\n%+v", text, got, want)
				}
				if _, err := r.Apply(t.Context(), s); err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				if r.Counters().Reloads != nil {
					t.Fatalf("%q: a reload", text)
				}
			}
			if got := r.get("good.test", "/"); got.status != 200 {
				t.Errorf("the good host: got %d %q", got.status, got.body)
			}
		})
	}
	if after, err := os.ReadFile(filepath.Join(r.options.RunDir, "haproxy.cfg")); err != nil || !bytes.Equal(config, after) {
		t.Errorf("haproxy.cfg changed: %v", err)
	}
	if files, _ := os.ReadDir(filepath.Join(r.options.RunDir, "certs")); len(files) > 1 {
		t.Errorf("certificates were left: %v", files)
	}
	if output, err := runHAProxy("-c", "-f", filepath.Join(r.options.RunDir, "haproxy.cfg")); err != nil {
		t.Errorf("the files: %v: %s", err, output)
	}
}

// TestCommandsThatAreNone holds what the runtime API would take for more than one command.
func TestCommandsThatAreNone(t *testing.T) {
	r := run(t, nil)
	path := r.dir.path(mapFile)
	for _, test := range []struct {
		command string
		payload []byte
	}{
		{"show info; show stat", nil},
		{"show info\nshow stat", nil},
		{"add map " + path + " <<", nil},
		{"add map " + path, []byte("a b\n\nshow info\n")},
		{"add map " + path, []byte("\nshow info\n")},
		{"add map " + path, []byte("")},
		{"add map " + path, []byte("a b\r\nc d\n")},
		{"add map " + path, bytes.Repeat([]byte("a b\n"), 5000)},
	} {
		if answer, err := r.worker.send(t.Context(), test.command, test.payload); err == nil {
			t.Errorf("%q %.40q: answered %q", test.command, test.payload, answer)
		}
	}
	if entries, err := r.worker.showMap(t.Context(), path); err != nil || len(entries) != 0 {
		t.Errorf("the map has %v, %v", entries, err)
	}
	if err := r.worker.addEntries(t.Context(), "", path, slices.Values([]entry{{Token{"a"}, Token{""}}, {Token{"b"}, Token{"c"}}})); err == nil {
		t.Error("a line without a value was sent")
	}
}
