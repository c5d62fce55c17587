package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

const (
	// Address is the first address of the world, on its loopback interface with a /24 around it. The API server
	// advertises it, and resolv.conf names it as the one DNS server.
	Address = "192.0.2.1"

	// stage tells a process of the lab how far its world is made: unset outside, stageNew in the process that has new
	// namespaces and must set them up, stageInside in all others.
	stage       = "DRAWBRIDGE_LAB"
	stageNew    = "new"
	stageInside = "inside"
	// outerPID is the process's id as the outside sees it.
	outerPID = "DRAWBRIDGE_LAB_PID"
	// userNamespace is set where the world has a user namespace of its own.
	userNamespace = "DRAWBRIDGE_LAB_USER"
)

// Main is the body of a TestMain: it runs the tests inside a world of their own and exits.
func Main(m *testing.M) {
	os.Exit(Within(m.Run))
}

// Inside says whether this process runs in a lab's world.
func Inside() bool { return os.Getenv(stage) != "" }

// Within runs body in a world of its own and returns body's result, an exit code.
//
// Outside it runs this program again, with the same arguments, in new network, mount and process namespaces, and in a
// new user namespace too where it is not root; inside, where the program comes to the same call, it sets the world up and
// calls body. Whatever body started ends with it, even when it is killed. Where such namespaces can't be had, Within
// prints one line that says what to do, and returns 1.
//
// Signals to the outer process are passed on, so that body may see an interrupt from the terminal twice.
func Within(body func() int) int {
	switch os.Getenv(stage) {
	case stageInside:
		return finish(body)
	case stageNew:
		if err := setUp(); err != nil {
			fmt.Fprintln(os.Stderr, refusal(err))
			return 1
		}
		return finish(body)
	}
	code, err := reenter()
	if err != nil {
		fmt.Fprintln(os.Stderr, refusal(err))
		return 1
	}
	return code
}

// finish runs body and ends what lives as long as the process. What fails there fails a run that was good until then.
func finish(body func() int) int {
	code := body()
	process.end()
	for _, err := range process.failures {
		fmt.Fprintln(os.Stderr, "lab:", err)
		code = max(code, 1)
	}
	return code
}

// ShellCommand returns the one command line that opens a shell inside this world, for a person outside of it with the
// rights of the person who started it.
func ShellCommand() string {
	flags := "-m -n -p"
	if os.Getenv(userNamespace) != "" {
		flags = "-U --preserve-credentials " + flags
	}
	return fmt.Sprintf("nsenter -t %s %s bash", os.Getenv(outerPID), flags)
}

func refusal(err error) string {
	return fmt.Sprintf("lab: no network namespace could be made (%v): run as root, or allow unprivileged user namespaces "+
		"(sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000, "+
		"kernel.apparmor_restrict_unprivileged_userns=0 where there are such keys); in a container, run it privileged", err)
}

// reenter runs this program again inside new namespaces and returns its exit code.
func reenter() (int, error) {
	// The kernel sends Pdeathsig when the *thread* ends that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, err := startChild(os.Getuid() != 0)
	if errors.Is(err, syscall.EPERM) && os.Getuid() == 0 {
		// Root in a container without CAP_SYS_ADMIN may still be let make a user namespace.
		child, err = startChild(true)
	}
	if err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				// It may have ended in between.
				_ = child.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err = child.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			fmt.Fprintf(os.Stderr, "lab: the world ended by %s\n", status.Signal())
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	default:
		return 0, err
	}
}

func startChild(user bool) (*exec.Cmd, error) {
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Args[0] = os.Args[0]
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), stage+"="+stageNew)
	child.SysProcAttr = &syscall.SysProcAttr{
		// In a process namespace everything ends with its first process, which is the child.
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if user {
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		child.Env = append(child.Env, userNamespace+"=1")
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	return child, nil
}

// setUp makes a world of new namespaces: loopback up, Address on it, a resolv.conf that names it.
func setUp() error {
	// /proc still is the outer one, and tells the process's id there.
	if self, err := os.Readlink("/proc/self"); err == nil {
		if err := os.Setenv(outerPID, self); err != nil {
			return err
		}
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	// In a container that masks parts of /proc a user namespace may not mount one. Process ids in the old one are then
	// those of the outside, which nothing here depends on.
	_ = syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "")
	if err := bindResolvConf(); err != nil {
		return fmt.Errorf("binding a resolv.conf: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bringing up lo: %w", err)
	}
	return os.Setenv(stage, stageInside)
}

// bindResolvConf puts a resolv.conf of the lab over the system's: look-ups would otherwise wait ten seconds for servers
// that the world has no route to.
func bindResolvConf() error {
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return err
	}
	own, err := os.CreateTemp("/tmp", "drawbridge-resolv-")
	if err != nil {
		return err
	}
	// The mount keeps the file.
	defer os.Remove(own.Name())
	if err := own.Chmod(0o644); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(own, "nameserver %s\noptions timeout:2 attempts:2\n", Address); err != nil {
		return err
	}
	if err := own.Close(); err != nil {
		return err
	}
	return syscall.Mount(own.Name(), target, "", syscall.MS_BIND, "")
}
