package controller

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
	"drawbridge.dev/drawbridge/render"
	"drawbridge.dev/drawbridge/render/model"
	endpointslices "drawbridge.dev/drawbridge/render/slices"
)

// Folder is a Source of manifests: files and folders, read again whenever one of them changes.
type Folder struct {
	Paths     []string
	Namespace string // of objects that name none
	Log       *slog.Logger
}

// settleFiles is how long a change of a file is left to finish: editors and checkouts write in several steps.
const settleFiles = 50 * time.Millisecond

// pollFiles is how often the files are read again where nothing was reported: some file systems report nothing.
const pollFiles = 5 * time.Second

// Run reads the folder and follows its changes. What can not be read is logged: a file keeps what it held before, so
// that one saved half-way takes no route down, and at first gives what of it can be read. A folder that can not be read
// at first is an error, and later leaves what was there.
func (f Folder) Run(ctx context.Context, deliver func(Change)) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %v: %w", f.Paths, err)
	}
	defer watcher.Close() //nolint:errcheck // nothing to lose
	good := map[string][]policy.Object{}
	objects, err := f.read(good)
	if err != nil {
		return err
	}
	f.watch(watcher)
	deliver(Change{Objects: objects, All: true})
	poll := time.NewTicker(pollFiles)
	defer poll.Stop()
	var settle <-chan time.Time
	last := f.stamp()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
			settle = time.After(settleFiles)
			continue
		case err := <-watcher.Errors:
			f.Log.Warn("watch manifests", "err", err)
			continue
		case <-poll.C:
			if now := f.stamp(); now == last {
				continue
			}
		case <-settle:
		}
		settle = nil
		last = f.stamp()
		f.watch(watcher)
		objects, err := f.read(good)
		if err != nil {
			f.Log.Error("read manifests; what was read before goes on being served", "err", err)
			continue
		}
		deliver(Change{Objects: objects, All: true})
	}
}

// watch adds every folder below the paths; fsnotify does not look below by itself, and to add twice is no error.
func (f Folder) watch(w *fsnotify.Watcher) {
	f.walk(func(path string, d fs.DirEntry) {
		if d.IsDir() {
			if err := w.Add(path); err != nil {
				f.Log.Warn("watch manifests", "path", path, "err", err)
			}
		}
	})
}

// stamp changes when a file below the paths does.
func (f Folder) stamp() string {
	stamp := ""
	f.walk(func(path string, d fs.DirEntry) {
		if info, err := d.Info(); err == nil {
			stamp += fmt.Sprintln(path, info.Size(), info.ModTime().UnixNano())
		}
	})
	return stamp
}

func (f Folder) walk(visit func(string, fs.DirEntry)) {
	for _, root := range f.Paths {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil {
				visit(path, d)
			}
			return nil
		})
	}
}

// read gives the objects of the files. good holds what each file held when all of it could be read, and is kept so.
func (f Folder) read(good map[string][]policy.Object) ([]policy.Object, error) {
	files, errs := manifest.Load(f.Paths, nil, manifest.Options{Namespace: f.Namespace})
	if len(errs) > 0 {
		return nil, errs[0]
	}
	var objects []policy.Object
	there := map[string]bool{}
	for _, file := range files {
		there[file.Name] = true
		now := manifest.Objects([]*manifest.File{file})
		before, known := good[file.Name]
		switch {
		case len(file.Errors) == 0:
			good[file.Name] = now
		case known:
			now = before
		}
		for _, e := range file.Errors {
			if known {
				f.Log.Warn("a file can not be read; what it held before goes on being served", "err", e)
			} else {
				f.Log.Warn("a document can not be read and is left out", "err", e)
			}
		}
		objects = append(objects, now...)
	}
	maps.DeleteFunc(good, func(name string, _ []policy.Object) bool { return !there[name] })
	all, _, problems := Complete(objects)
	for _, p := range problems {
		f.Log.Warn("problem", "kind", p.Kind, "origin", originText(p.Origin), "message", p.Message)
	}
	return all, nil
}

// Complete adds to the objects of manifests what a cluster would have made of them: the EndpointSlices that
// drawbridge's manager generates from Endpoints. problems tells which addresses and ports have no place in one.
func Complete(objects []policy.Object) (all []policy.Object, generated []*discoveryv1.EndpointSlice, problems []render.Problem) {
	all = slices.Clone(objects)
	world := policy.NewIndex(objects...)
	for _, o := range objects {
		ep, ok := o.(*corev1.Endpoints)
		if !ok {
			continue
		}
		if svc := world.Service(ep.Namespace, ep.Name); svc != nil && len(svc.Spec.Selector) == 0 {
			wanted, left := endpointslices.Wanted(ep, svc, nil)
			for _, p := range left {
				origin := model.Origin{Kind: "Endpoints", Namespace: ep.Namespace, Name: ep.Name, Field: p.Field}
				problems = append(problems, render.Problem{Kind: render.BadAddress, Origin: origin, Message: p.Message})
			}
			for _, s := range wanted {
				all, generated = append(all, s), append(generated, s)
			}
		}
	}
	return all, generated, problems
}
