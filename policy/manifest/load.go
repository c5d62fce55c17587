package manifest

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"drawbridge.dev/drawbridge/policy"
)

// Stdin is the path that stands for standard input, and StdinName what positions call it.
const (
	Stdin     = "-"
	StdinName = "stdin"
)

// Load reads files, folders and standard input, in the order given and folders in that of their names. Of a folder it
// reads the files .yaml, .yml and .json at any depth, neither hidden ones nor links that lead out of it; a file that
// is named itself is read whatever its name is. No file is read twice.
//
// Where stdin is nil its path is one that can not be opened.
//
// What can not be opened is in errs and does not keep the rest from being read.
func Load(paths []string, stdin io.Reader, opts Options) (files []*File, errs []*Error) {
	seen := map[string]bool{}
	once := func(name string) bool {
		key := name
		if abs, err := filepath.Abs(name); err == nil {
			key = abs
		}
		if seen[key] {
			return false
		}
		seen[key] = true
		return true
	}
	fail := func(name string, err error) {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		errs = append(errs, &Error{File: name, Detail: err.Error(), Err: err})
	}
	add := func(name string, r io.Reader) {
		source, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
		if err != nil {
			fail(name, err)
			return
		}
		files = append(files, Read(name, source, opts))
	}
	for _, p := range paths {
		if p == Stdin {
			if stdin == nil {
				fail(StdinName, errors.New("there is no standard input here"))
			} else if once(Stdin) {
				add(StdinName, stdin)
			}
			continue
		}
		info, err := os.Stat(p)
		switch {
		case err != nil:
			fail(p, err)
		case info.IsDir():
			loadFolder(p, once, add, fail)
		case once(p):
			file, err := os.Open(p)
			if err != nil {
				fail(p, err)
				continue
			}
			add(p, file)
			file.Close()
		}
	}
	return files, errs
}

// loadFolder walks a folder through an os.Root, which keeps every link inside it.
func loadFolder(dir string, once func(string) bool, add func(string, io.Reader), fail func(string, error)) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		fail(dir, err)
		return
	}
	defer func() { _ = root.Close() }() // it was only read from
	_ = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		shown := filepath.Join(dir, filepath.FromSlash(name))
		switch {
		case err != nil:
			fail(shown, err)
			return nil
		case name != "." && strings.HasPrefix(path.Base(name), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		}
		switch strings.ToLower(path.Ext(name)) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		link := entry.Type()&fs.ModeSymlink != 0
		if !link && !entry.Type().IsRegular() {
			return nil
		}
		info, err := root.Stat(name)
		switch {
		case err != nil && link:
			slog.Warn("passed over a link that leads out of the folder or nowhere", "file", OneLine(shown))
			return nil
		case err != nil:
			fail(shown, err)
			return nil
		case !info.Mode().IsRegular() || !once(shown):
			return nil
		}
		file, err := root.Open(name)
		if err != nil {
			fail(shown, err)
			return nil
		}
		defer file.Close()
		add(shown, file)
		return nil
	})
}

// Objects lists every object of the files, in their order.
func Objects(files []*File) []policy.Object {
	var all []policy.Object
	for _, f := range files {
		for _, o := range f.Objects {
			all = append(all, o.Object)
		}
	}
	return all
}

// World is what the objects of files make together. It is not changed once made.
type World struct {
	*policy.Index
	all []policy.Object
}

var _ policy.World = (*World)(nil)

// WorldOf makes a World of files. Of two objects of one kind, namespace and name the last counts, as it would if the
// files were applied in their order.
func WorldOf(files []*File) *World {
	type key struct{ kind, namespace, name string }
	last := map[key]policy.Object{}
	for _, o := range Objects(files) {
		last[key{o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName()}] = o
	}
	keys := slices.SortedFunc(maps.Keys(last), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	w := &World{}
	for _, k := range keys {
		w.all = append(w.all, last[k])
	}
	w.Index = policy.NewIndex(w.all...)
	return w
}

// All lists every object that counts, by kind, namespace and name. The caller must not change the objects.
func (w *World) All() []policy.Object { return slices.Clone(w.all) }

// Errors lists what could not be read in the files, by file and line.
func Errors(files []*File) []*Error {
	var all []*Error
	for _, f := range files {
		all = append(all, f.Errors...)
	}
	slices.SortStableFunc(all, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), a.compare(b.Position))
	})
	return all
}

// Join makes one stream of several texts: each begins with a document marker, unless it brings one of its own, and
// ends with a line break. One text alone stays as it is.
func Join(texts [][]byte) []byte {
	if len(texts) == 1 {
		return texts[0]
	}
	var out []byte
	for _, t := range texts {
		t = []byte(strings.TrimPrefix(string(t), string(bom)))
		if len(t) == 0 {
			continue
		}
		if len(out) > 0 && out[len(out)-1] != '\n' {
			out = append(out, '\n')
		}
		if len(out) > 0 && !startsDocument(t) {
			out = append(out, "---\n"...)
		}
		out = append(out, t...)
	}
	return out
}

// startsDocument tells whether a text parts itself from what comes before it: its first line that is no comment is a
// marker. A directive needs an end of the document before it, which only "---" of its own makes sure of.
func startsDocument(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		t := strings.TrimSpace(line)
		if t == "" || t[0] == '#' {
			continue
		}
		return marker([]byte(line), "---")
	}
	return true
}
