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

	"github.com/bmatcuk/doublestar/v4"

	"drawbridge.dev/drawbridge/policy"
)

// Stdin is the path that stands for standard input, and StdinName what positions call it.
const (
	Stdin     = "-"
	StdinName = "stdin"
)

// Load reads files, folders, patterns and standard input, in the order given, and folders and patterns in the order of
// names. Of a folder it reads the files .yaml, .yml and .json at any depth, neither hidden ones nor links that lead out
// of it; a file that is named itself is read whatever its name is. No file is read twice.
//
// Where opts.Patterns is set, a path that does not exist and has one of *?[{ in it is a pattern, for shells that leave it
// as it is: * and ? stay within a name, ** goes to any depth, {a,b} is either. It stands for what it matches, hidden files
// only where it says their dot; with an ending in its last part it reads files of any ending. One that matches nothing is
// an error.
//
// Where stdin is nil its path is one that can not be opened.
//
// What can not be opened is in errs and does not keep the rest from being read.
func Load(paths []string, stdin io.Reader, opts Options) (files []*File, errs []*Error) {
	l := loader{opts: opts, seen: map[string]bool{}}
	for _, p := range paths {
		if p == Stdin {
			if stdin == nil {
				l.fail(StdinName, errors.New("there is no standard input here"))
			} else if l.once(Stdin) {
				l.read(StdinName, stdin)
			}
			continue
		}
		info, err := os.Stat(p)
		switch {
		case opts.Patterns && errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(p, "*?[{"):
			l.pattern(p)
		case err != nil:
			l.fail(p, err)
		case info.IsDir():
			l.folder(p)
		default:
			l.file(p)
		}
	}
	return l.files, l.errs
}

// loader collects files.
type loader struct {
	opts  Options
	files []*File
	errs  []*Error
	seen  map[string]bool
	// found counts the files below folders, read before or not.
	found int
}

func (l *loader) once(name string) bool {
	key := name
	if abs, err := filepath.Abs(name); err == nil && name != Stdin {
		key = abs
	}
	if l.seen[key] {
		return false
	}
	l.seen[key] = true
	return true
}

func (l *loader) fail(name string, err error) {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	l.errs = append(l.errs, &Error{File: name, Detail: err.Error(), Err: err})
}

func (l *loader) read(name string, r io.Reader) {
	source, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		l.fail(name, err)
		return
	}
	l.files = append(l.files, Read(name, source, l.opts))
}

func (l *loader) file(name string) {
	if !l.once(name) {
		return
	}
	file, err := os.Open(name)
	if err != nil {
		l.fail(name, err)
		return
	}
	defer file.Close()
	l.read(name, file)
}

// folder walks a folder through an os.Root, which keeps every link inside it.
func (l *loader) folder(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		l.fail(dir, err)
		return
	}
	defer func() { _ = root.Close() }() // it was only read from
	l.below(root, dir, ".")
}

// below reads what is below a folder of a root, which is called dir.
func (l *loader) below(root *os.Root, dir, start string) {
	_ = fs.WalkDir(root.FS(), start, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			l.fail(filepath.Join(dir, filepath.FromSlash(name)), err)
			return nil
		case name != start && strings.HasPrefix(path.Base(name), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !entry.IsDir() && manifestEnding(name):
			l.inRoot(root, dir, name, entry.Type())
		}
		return nil
	})
}

func manifestEnding(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// inRoot reads a file of a root, which is called dir.
func (l *loader) inRoot(root *os.Root, dir, name string, mode fs.FileMode) {
	shown := filepath.Join(dir, filepath.FromSlash(name))
	link := mode&fs.ModeSymlink != 0
	if !link && !mode.IsRegular() {
		return
	}
	info, err := root.Stat(name)
	switch {
	case err != nil && link:
		slog.Warn("passed over a link that leads out of the folder or nowhere", "file", OneLine(shown))
		return
	case err != nil:
		l.fail(shown, err)
		return
	case !info.Mode().IsRegular():
		return
	}
	l.found++
	if !l.once(shown) {
		return
	}
	file, err := root.Open(name)
	if err != nil {
		l.fail(shown, err)
		return
	}
	defer file.Close()
	l.read(shown, file)
}

// pattern reads what a pattern matches, below the folder that it begins with.
func (l *loader) pattern(p string) {
	dir, rest := doublestar.SplitPattern(filepath.ToSlash(p))
	if !doublestar.ValidatePattern(rest) {
		l.fail(p, errors.New("is no file, and no pattern either: a bracket in it is not closed"))
		return
	}
	none := errors.New("is a pattern that matches no file")
	root, err := os.OpenRoot(filepath.FromSlash(dir))
	if errors.Is(err, fs.ErrNotExist) {
		l.fail(p, none)
		return
	} else if err != nil {
		l.fail(p, err)
		return
	}
	defer func() { _ = root.Close() }() // it was only read from
	named := strings.Contains(path.Base(rest), ".")
	before := l.found + len(l.errs)
	options := []doublestar.GlobOption{doublestar.WithNoHidden(), doublestar.WithNoFollow()}
	names, err := doublestar.Glob(root.FS(), rest, append(options, doublestar.WithFailOnIOErrors())...)
	if err != nil { // a folder that can not be read; the others can
		l.fail(p, err)
		if names, err = doublestar.Glob(root.FS(), rest, options...); err != nil {
			return
		}
	}
	slices.Sort(names)
	for _, name := range names {
		info, err := root.Lstat(name)
		switch {
		case err != nil:
			l.fail(filepath.Join(dir, filepath.FromSlash(name)), err)
		case info.IsDir():
			l.below(root, dir, name)
		case named || manifestEnding(name):
			l.inRoot(root, dir, name, info.Mode().Type())
		}
	}
	if l.found+len(l.errs) == before {
		l.fail(p, none)
	}
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
