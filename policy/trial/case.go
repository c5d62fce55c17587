package trial

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
)

// What a folder of cases holds beside them.
const (
	// PolicyFile is the policy that they are about, a policy.yaml or a ConfigMap that holds one.
	PolicyFile = "policy.yaml"
	// WorldName is a file, with an ending of manifests, or a folder: objects that every case knows and none judges, such
	// as Namespaces with their labels.
	WorldName = "world"
	// expectedSuffix is put in the place of a case's ending.
	expectedSuffix = ".expected"
)

// maxExpected is the longest text of what a case expects, in bytes.
const maxExpected = 1 << 20

// Suite is a folder of cases.
type Suite struct {
	dir   string
	world []*manifest.File
	Cases []*Case
}

// Case is a file of manifests and what is expected of its objects: a file of the same name with the ending .expected.
// A line of it is a finding as [Finding.String] has it; their order does not matter, nor do blanks, empty lines and
// lines that begin with '#'. "user: NAME" and "groups: NAME, NAME" say who writes the objects; without them nobody
// knows.
type Case struct {
	// Name is the path of its manifests below the folder, with slashes.
	Name     string
	file     *manifest.File
	expected string // path of the file
	text     []byte // its text
	missing  bool   // it is not there yet
	user     string
	groups   []string
	want     []string
}

// Load reads the cases of a folder, in the order of their names, and whatever can not be read with them. Hidden files
// and links are passed over.
func Load(dir string) (*Suite, []error) {
	s := &Suite{dir: dir}
	var errs []error
	walk := func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case name == ".":
			return nil
		case strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir() || !entry.Type().IsRegular() || name == PolicyFile || !isManifest(name):
			return nil
		}
		files, failed := manifest.Load([]string{p}, nil, manifest.Options{})
		for _, e := range append(failed, manifest.Errors(files)...) {
			errs = append(errs, e)
		}
		if name == WorldName+path.Ext(name) || strings.HasPrefix(name, WorldName+"/") {
			s.world = append(s.world, files...)
			return nil
		}
		for _, f := range files {
			c := &Case{Name: name, file: f, expected: strings.TrimSuffix(p, filepath.Ext(p)) + expectedSuffix}
			if err := c.read(); err != nil {
				errs = append(errs, err)
			}
			s.Cases = append(s.Cases, c)
		}
		return nil
	}
	if err := filepath.WalkDir(dir, walk); err != nil {
		errs = append(errs, err)
	}
	taken := map[string]string{}
	for _, c := range s.Cases {
		if other, dup := taken[c.expected]; dup {
			errs = append(errs, fmt.Errorf("%s: expects what '%s' does, in '%s'; give one of them another name", c.Name, other, filepath.Base(c.expected)))
		}
		taken[c.expected] = c.Name
	}
	return s, errs
}

func isManifest(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name))
}

// read reads what is expected.
func (c *Case) read() error {
	text, err := os.ReadFile(c.expected)
	if errors.Is(err, fs.ErrNotExist) {
		c.missing = true
		return nil
	}
	if err != nil {
		return err
	}
	if len(text) > maxExpected {
		return fmt.Errorf("%s: has %d bytes, must have at most %d", c.expected, len(text), maxExpected)
	}
	c.text = text
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.Join(strings.Fields(line), " ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if user, ok := strings.CutPrefix(line, "user: "); ok {
			c.user = user
			continue
		}
		if groups, ok := strings.CutPrefix(line, "groups: "); ok {
			for group := range strings.SplitSeq(groups, ",") {
				c.groups = append(c.groups, strings.TrimSpace(group))
			}
			continue
		}
		level, _, _ := strings.Cut(line, " ")
		if !slices.Contains([]string{"deny", "warn", "fix", "exempt"}, level) || !strings.HasSuffix(line, ")") {
			return fmt.Errorf("%s:%d: must be 'LEVEL NAMESPACE/KIND/NAME FIELD (RULE)', with the level 'deny', 'warn', 'fix' or 'exempt'; or 'user: NAME', 'groups: NAME, NAME' or a comment", c.expected, n)
		}
		c.want = append(c.want, line)
	}
	return nil
}

// Outcome is what came of a case.
type Outcome struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Missing are the lines expected that were not found, and Unexpected the findings that were not expected.
	Missing    []string  `json:"missing,omitempty"`
	Unexpected []Finding `json:"unexpected,omitempty"`
	// New tells that nobody has written yet what is expected.
	New bool `json:"new,omitempty"`

	found []Finding
}

// Run judges the objects of a case by a policy. The objects of its file, and those of the folder's world, are all that
// is known.
func (s *Suite) Run(c *Case, book policy.Book, config *policy.Config) Outcome {
	out := Outcome{Name: c.Name, New: c.missing}
	world := manifest.WorldOf(append(slices.Clone(s.world), c.file))
	for _, o := range c.file.Objects {
		if o.Judged {
			out.found = append(out.found, findings(o.Object, book.Review(policy.Request{
				Object: o.Object, World: world, Config: config, User: c.user, Groups: c.groups, Stored: o.Object.GetUID() != "",
			}))...)
		}
	}
	left := map[string]int{}
	for _, line := range c.want {
		left[line]++
	}
	for _, f := range out.found {
		line := strings.Join(strings.Fields(f.String()), " ")
		if left[line] > 0 {
			left[line]--
			continue
		}
		out.Unexpected = append(out.Unexpected, f)
	}
	for _, line := range c.want {
		if left[line] > 0 {
			left[line]--
			out.Missing = append(out.Missing, line)
		}
	}
	out.OK = !c.missing && len(out.Missing)+len(out.Unexpected) == 0
	return out
}

// Update writes what was found as what is expected. Comments and who writes stay, before the findings; a file that says
// the same already is left as it is. It tells whether it wrote.
func (c *Case) Update(o Outcome) (wrote bool, err error) {
	if o.OK {
		return false, nil
	}
	var b bytes.Buffer
	for line := range strings.Lines(string(c.text)) {
		plain := strings.TrimSpace(line)
		if strings.HasPrefix(plain, "#") || strings.HasPrefix(plain, "user: ") || strings.HasPrefix(plain, "groups: ") {
			b.WriteString(plain + "\n")
		}
	}
	for _, f := range o.found {
		b.WriteString(f.String() + "\n")
	}
	return true, os.WriteFile(c.expected, b.Bytes(), 0o644)
}
