package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strconv"
	"strings"
	"time"
)

// cli speaks to the socket of a worker, or of the master. Every command has a connection of its own: one that is
// kept open stays with a worker that was replaced.
type cli struct {
	socket string
	// master is set for the master's socket, which keeps a connection open until the other side says that it is done.
	master bool
}

// maxCommand bounds a command with its payload: HAProxy 2.6 hangs at 16,384 bytes and drops what is beyond.
const maxCommand = 15500

// commandTimeout bounds one command; committing 200,000 lines takes about a second.
const commandTimeout = 30 * time.Second

// send writes a command and, where payload isn't nil, a payload, and returns the whole answer without its last line
// breaks. A payload may hold anything but an empty line. The words of a command are constants, paths of this
// package's own files, and numbers.
func (r cli) send(ctx context.Context, command string, payload []byte) (string, error) {
	if strings.ContainsAny(command, ";\n\r\\<") {
		return "", fmt.Errorf("command %q: must be one line without ';' and '\\'", command)
	}
	message := []byte(command + "\n")
	if payload != nil {
		body := bytes.TrimSuffix(payload, []byte("\n"))
		if len(body) == 0 || body[0] == '\n' || bytes.Contains(body, []byte("\n\n")) || bytes.ContainsAny(body, "\r\x00") {
			return "", fmt.Errorf("command %q: the payload must not have an empty line", command)
		}
		message = fmt.Appendf(nil, "%s <<\n%s\n\n", command, body)
	}
	if len(message) > maxCommand+len("\n\n") {
		return "", fmt.Errorf("command %q: %d bytes with its payload: %w", command, len(message), errTooLong)
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", r.socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(message); err != nil {
		return "", fmt.Errorf("command %q: %w", command, err)
	}
	if half, ok := conn.(*net.UnixConn); ok && r.master {
		if err := half.CloseWrite(); err != nil {
			return "", fmt.Errorf("command %q: %w", command, err)
		}
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", fmt.Errorf("command %q: %w", command, err)
	}
	return strings.TrimRight(string(answer), "\n"), nil
}

var errTooLong = errors.New("too long for the runtime API")

// silent sends a command whose success says nothing.
func (r cli) silent(ctx context.Context, command string, payload []byte) error {
	answer, err := r.send(ctx, command, payload)
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "" {
		return &refusal{command, answer}
	}
	return nil
}

// says sends a command whose success is told by a word.
func (r cli) says(ctx context.Context, command string, payload []byte, word string) error {
	answer, err := r.send(ctx, command, payload)
	if err != nil {
		return err
	}
	if !strings.Contains(answer, word) {
		return &refusal{command, answer}
	}
	return nil
}

// refusal is a command that HAProxy answered otherwise than hoped.
type refusal struct{ command, answer string }

func (r *refusal) Error() string {
	return fmt.Sprintf("HAProxy answered %q to %q", strings.TrimSpace(r.answer), r.command)
}

// identity tells one run of a worker from the next: in a container of its own it has the same pid each time.
type identity struct{ pid, started string }

func (r cli) identity(ctx context.Context) (identity, error) {
	answer, err := r.send(ctx, "show info", nil)
	if err != nil {
		return identity{}, err
	}
	var id identity
	for line := range strings.Lines(answer) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "Pid":
			id.pid = value
		case "Start_time_sec":
			id.started = value
		}
	}
	if id.pid == "" || id.started == "" {
		return id, &refusal{"show info", answer}
	}
	return id, nil
}

// addEntries adds lines to the map, or to a version of it that isn't served yet ("@3 "), in their order.
func (r cli) addEntries(ctx context.Context, version, path string, entries iter.Seq[entry]) error {
	command := "add map " + version + path
	room := maxCommand - len(command) - len(" <<\n")
	var payload []byte
	flush := func() error {
		if len(payload) == 0 {
			return nil
		}
		err := r.silent(ctx, command, payload)
		payload = payload[:0]
		return err
	}
	for e := range entries {
		// A line without a value would take the next one for a part of its key.
		if e.key.text == "" || e.value.text == "" {
			return fmt.Errorf("map: key %q and value %q must not be empty", e.key, e.value)
		}
		if len(payload)+len(e.key.text)+len(e.value.text)+2 > room {
			if err := flush(); err != nil {
				return err
			}
		}
		payload = append(payload, e.key.text...)
		payload = append(payload, ' ')
		payload = append(payload, e.value.text...)
		payload = append(payload, '\n')
	}
	return flush()
}

// replaceMap puts other lines in the place of all, at one instant.
func (r cli) replaceMap(ctx context.Context, path string, s State) error {
	answer, err := r.send(ctx, "prepare map "+path, nil)
	if err != nil {
		return err
	}
	_, number, _ := strings.Cut(answer, "New version created: ")
	if _, err := strconv.ParseUint(strings.TrimSpace(number), 10, 32); err != nil {
		return &refusal{"prepare map " + path, answer}
	}
	version := "@" + strings.TrimSpace(number) + " "
	if err = r.addEntries(ctx, version, path, s.entries); err == nil {
		err = r.silent(ctx, "commit map "+version+path, nil)
	}
	if err != nil {
		return errors.Join(err, r.silent(context.WithoutCancel(ctx), "clear map "+version+path, nil))
	}
	return nil
}

// showMap reads the lines that HAProxy serves.
func (r cli) showMap(ctx context.Context, path string) ([]entry, error) {
	answer, err := r.send(ctx, "show map "+path, nil)
	if err != nil {
		return nil, err
	}
	entries, err := parseEntries([]byte(answer))
	if err != nil {
		return nil, &refusal{"show map " + path, err.Error()}
	}
	return entries, nil
}
