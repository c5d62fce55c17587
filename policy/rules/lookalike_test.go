package rules

import (
	"strings"
	"testing"
	"unicode"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

func TestScriptOf(t *testing.T) {
	for host, want := range map[string]hostScript{
		"api.example.com":           {},
		"xn--bcher-kva.example":     {Shown: "bücher.example"},
		"xn--n3h.example":           {Shown: "☃.example"}, // no letter, and registered all the same
		"xn--80ak6aa92e.com":        {Shown: "аррӏе.com", Like: "apple.com"},
		"xn--pple-43d.com":          {Shown: "аpple.com", Mixed: true, Like: "apple.com"},
		"xn--e1afmkfd.xn--p1ai":     {Shown: "пример.рф"},
		"xn--r8jz45g.jp":            {Shown: "例え.jp"},
		"xn--0000000000.example":    {Broken: true},
		"xn--.example":              {Broken: true},
		"a.xn--xn--a--8za.example":  {Broken: true},
		"xn--api-.example":          {Broken: true}, // punycode of plain ASCII, which nobody writes so
		"*.xn--bcher-kva.example":   {Shown: "*.bücher.example"},
		"xn--exmple-4nf.example":    {Shown: "exаmple.example", Mixed: true, Like: "example.example"},
		"xn--strae-oqa.example":     {Shown: "straße.example"},
		"xn--fiqs8s.xn--fiqs8s":     {Shown: "中国.中国"},
		"xn--mgbh0fb.xn--kgbechtv":  {Shown: "مثال.إختبار"},
		"xn--hxajbheg2az3al.com":    {Shown: "παράδειγμα.com"},
		"xn--mxa.example":           {Shown: "α.example", Like: "a.example"},
		"xn--tst-qla.xn--fiqs8s.cn": {Shown: "täst.中国.cn"},
	} {
		if got := scriptOf(host); got != want {
			t.Errorf("%s: %+v, want %+v", host, got, want)
		}
	}
}

func TestClusterNameOf(t *testing.T) {
	world := policy.NewIndex(objects(t, exampleWeb)...)
	for name, want := range map[string]clusterName{
		"web.team-b.svc.corp.example":            {Namespace: "team-b", Service: "web"},
		"web-0.web.team-b.svc.corp.example":      {Namespace: "team-b", Service: "web"},
		"_http._tcp.web.team-b.svc.corp.example": {Namespace: "team-b", Service: "web"},
		"web.team-b.svc":                         {Namespace: "team-b", Service: "web"},
		"team-b.svc":                             {Namespace: "team-b"},
		"team-b.svc.corp.example":                {Namespace: "team-b"},
		"svc.corp.example":                       {},
		"corp.example":                           {},
		"10-0-0-7.team-a.pod.corp.example":       {},
		"10-0-0-7.team-a.pod":                    {},
		"dns-version.corp.example":               {},
		"kubernetes.default":                     {Namespace: "default", Service: "kubernetes"},
		"web.team-a":                             {Namespace: "team-a", Service: "web"},
		"web-0.web.team-a":                       {Namespace: "team-a", Service: "web"},
		"web":                                    {Service: "web", Short: true},
		"svc":                                    {Service: "svc", Short: true},
	} {
		if got, ok := clusterNameOf(world, name, "corp.example"); !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, ok, want)
		}
	}
	for _, name := range []string{"web.team-c", "api.team-a", "www.example", "web.team-a.svc.cluster.local", "notcorp.example", "svc.example", "pod.example"} {
		if got, ok := clusterNameOf(world, name, "corp.example"); ok {
			t.Errorf("%s is outside of the cluster, not %+v", name, got)
		}
	}
}

// FuzzTexts holds what everything else relies on: that the quick judgements agree with the grammars, and that nothing
// which ends a word or a line of a configuration passes for a path or a host.
func FuzzTexts(f *testing.F) {
	for _, s := range []string{"", "/foo(/|$)(.*)", "/a{2,3}", "/a;b", `/x\`, `/x\\`, "xn--80ak6aa92e.com", "*.example.com", "-a", "a..b", "/{id:[0-9]+}/x", "/a\nb", "/caf\u00e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scriptOf(s)
		if isPlainHost(s) && !intent.HostName.Valid(s) {
			t.Errorf("%q is a plain host, and no host", s)
		}
		forbidden := func(r rune) bool {
			return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("\"';#`", r)
		}
		for _, path := range []string{s, untemplated(s)} {
			if isPath(path) && (strings.ContainsFunc(path, forbidden) || strings.HasSuffix(path, `\`) && !strings.HasSuffix(path, `\\`)) {
				t.Errorf("%q is a path", path)
			}
		}
		if isWord(s) && strings.ContainsFunc(s, forbidden) {
			t.Errorf("%q is a word", s)
		}
		for entry := range entries(s, true) {
			if entry == "" || strings.Contains(entry, ",") {
				t.Errorf("%q has the entry %q", s, entry)
			}
		}
	})
}
