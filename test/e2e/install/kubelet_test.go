package install

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

// What kubelet, the endpoints controller and a container engine do, as far as the test needs it: there is no node.

// mountSecret writes the content of a Secret into a folder as kubelet does: the files are links to ..data, and ..data is
// a link to a folder that is swapped as a whole.
func mountSecret(t *testing.T, c client.Client, namespace, name, folder string) {
	t.Helper()
	var secret corev1.Secret
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &secret); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	content := filepath.Join(folder, fmt.Sprintf("..%d", time.Now().UnixNano()))
	if err := os.Mkdir(content, 0o755); err != nil {
		t.Fatal(err)
	}
	for key, value := range secret.Data {
		if err := os.WriteFile(filepath.Join(content, key), value, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", key), filepath.Join(folder, key)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	old, _ := os.Readlink(filepath.Join(folder, "..data"))
	next := filepath.Join(folder, "..data_tmp")
	if err := os.Symlink(filepath.Base(content), next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(folder, "..data")); err != nil {
		t.Fatal(err)
	}
	if old != "" {
		if err := os.RemoveAll(filepath.Join(folder, old)); err != nil {
			t.Fatal(err)
		}
	}
}

// A container is how one of a pod is started: its arguments and environment, references resolved.
type container struct {
	corev1.Container
	args, env []string
}

// resolve gives a container's arguments and environment as kubelet would, but for the mounts: each mount path is
// replaced by the folder that stands in for it, because /run belongs to the machine that the test runs on.
func resolve(t *testing.T, namespace string, c corev1.Container, folders map[string]string) container {
	t.Helper()
	out := container{Container: c}
	values := map[string]string{}
	for _, env := range c.Env {
		value := env.Value
		if env.ValueFrom != nil {
			if env.ValueFrom.FieldRef == nil || env.ValueFrom.FieldRef.FieldPath != "metadata.namespace" {
				t.Fatalf("%s: environment %s comes from something that the test does not know: %+v", c.Name, env.Name, env.ValueFrom)
			}
			value = namespace
		}
		values[env.Name] = value
		out.env = append(out.env, env.Name+"="+value)
	}
	for _, arg := range slices.Concat(c.Command[1:], c.Args) {
		for name, value := range values {
			arg = strings.ReplaceAll(arg, "$("+name+")", value)
		}
		for _, mount := range c.VolumeMounts {
			if folder, ok := folders[mount.Name]; ok {
				arg = strings.ReplaceAll(arg, mount.MountPath, folder)
			}
		}
		out.args = append(out.args, arg)
	}
	return out
}

// port is the number of a container's port, which a probe or a Service gives by name or number.
func (c container) port(t *testing.T, port intstr.IntOrString) int32 {
	t.Helper()
	for _, p := range c.Ports {
		if p.Name == port.StrVal || (port.Type == intstr.Int && p.ContainerPort == port.IntVal) {
			return p.ContainerPort
		}
	}
	t.Fatalf("container %s has no port %s", c.Name, port.String())
	return 0
}

// awaitProbe waits until an HTTP probe of the container succeeds.
func (c container) awaitProbe(t *testing.T, probe *corev1.Probe) {
	t.Helper()
	url := fmt.Sprintf("http://%s:%d%s", lab.Address, c.port(t, probe.HTTPGet.Port), probe.HTTPGet.Path)
	lab.Eventually(t, time.Minute, func() error {
		response, err := http.Get(url)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, response.Status)
		}
		return nil
	})
}

// publish makes the EndpointSlice of a Service whose one pod is the container, at the world's own address.
func (c container) publish(t *testing.T, cl client.Client, namespace, service string) {
	t.Helper()
	var svc corev1.Service
	if err := cl.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: service}, &svc); err != nil {
		t.Fatal(err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: service + "-pods",
			Labels: map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{lab.Address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
	}
	for _, port := range svc.Spec.Ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Port: new(c.port(t, port.TargetPort)), Protocol: &port.Protocol})
	}
	if err := cl.Create(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
}
