package haproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// folder is the run directory. Only the agent writes in it but for the sockets, which are HAProxy's.
type folder string

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

// write replaces a file at one instant.
func (d folder) write(name string, text []byte) error {
	target := d.path(name)
	temporary := target + ".new"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, target)
}

// prepare makes the folder and whatever HAProxy wants to find in it when it starts. What is there stays.
func (d folder) prepare() error {
	if err := os.MkdirAll(d.path(certFolder), 0o700); err != nil {
		return err
	}
	if missing(d.path(mapFile)) {
		if err := d.write(mapFile, nil); err != nil {
			return err
		}
	}
	if missing(d.path(dummyFile)) {
		text, err := dummy(time.Now())
		if err != nil {
			return err
		}
		if err := d.write(dummyFile, text); err != nil {
			return err
		}
	}
	if missing(d.path(listFile)) {
		return d.write(listFile, d.list(nil))
	}
	return nil
}

// empty makes the data files as they are before anything is served.
func (d folder) empty() error {
	for _, name := range []string{mapFile, listFile, dummyFile} {
		if err := os.Remove(d.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return d.prepare()
}

// list writes the certificate list: the dummy first, which HAProxy gives to who asks for a name that isn't there.
func (d folder) list(bindings []binding) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s default.invalid\n", d.path(dummyFile))
	for _, x := range bindings {
		fmt.Fprintf(&b, "%s\n", d.line(x))
	}
	return b.Bytes()
}

func (d folder) line(b binding) string {
	return d.path(certFolder) + "/" + fileOf(b.id) + " " + b.name.text
}

// sweep removes the certificates that no list names any more.
func (d folder) sweep(keep map[string]bool) error {
	files, err := os.ReadDir(d.path(certFolder))
	if err != nil {
		return err
	}
	for _, f := range files {
		if name := f.Name(); !keep[name] && strings.HasSuffix(name, ".pem") {
			if err := os.Remove(filepath.Join(d.path(certFolder), name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
