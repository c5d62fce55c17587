package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

const (
	ours     = "drawbridge.dev"
	mirrored = "endpointslicemirroring-controller.k8s.io"
)

// keptBy waits until all slices of a Service are kept by one keeper, and gives them back.
func (w *world) keptBy(t *testing.T, namespace, service, keeper string) []discoveryv1.EndpointSlice {
	t.Helper()
	var list discoveryv1.EndpointSliceList
	lab.Eventually(t, patience, func() error {
		if err := w.client.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
			return err
		}
		if len(list.Items) == 0 {
			return fmt.Errorf("%s has no slices", service)
		}
		for i := range list.Items {
			if by := list.Items[i].Labels[discoveryv1.LabelManagedBy]; by != keeper {
				return fmt.Errorf("slice %s is kept by %s", list.Items[i].Name, by)
			}
		}
		return nil
	})
	return list.Items
}

// ask sends request after request until stop is called, which gives their number and the answers that were not 200.
func (p *proxy) ask(url string) (stop func() (int, []string)) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	count := 0
	var bad []string
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
			count++
			if a, err := p.get(url); err != nil || a.status != http.StatusOK {
				bad = append(bad, fmt.Sprintf("request %d: %d %q %v", count, a.status, strings.TrimSpace(a.body), err))
			}
		}
	})
	return func() (int, []string) {
		close(quit)
		wg.Wait()
		return count, bad
	}
}

const endpoints = `
apiVersion: v1
kind: Service
metadata: {name: ext}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: ext}
subsets: [{addresses: [{ip: 203.0.113.30}, {ip: 203.0.113.31}], ports: [{port: 8080}]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ext}
spec:
  ingressClassName: drawbridge
  rules:
  - host: ext.slices.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: ext, port: {name: http}}}}]}
`

// TestSlices follows the slices of Endpoints between the control plane's controller and drawbridge, under traffic.
func TestSlices(t *testing.T) {
	const url = "http://ext.slices.test/"
	for _, address := range []string{"203.0.113.30", "203.0.113.31", "203.0.113.32"} {
		lab.StartSite(t, lab.SiteOptions{Address: address + ":8080", Name: "ext", Hosts: []string{"ext.slices.test"}})
	}
	namespace := cluster.Namespace(t)
	addresses := []string{"203.0.113.30", "203.0.113.31"}

	t.Run("handover", func(t *testing.T) {
		shows(t, "Slices pass from the control plane's mirroring controller to drawbridge and back with no request lost, and each endpoint then stands once")
		cluster.policy(t, "version: 1\nslices:\n  scope: 'off'\n")
		cluster.Apply(t, namespace, endpoints)
		cluster.keptBy(t, namespace, "ext", mirrored)
		cluster.proxy.reaches(t, url, "ext")
		stop := cluster.proxy.ask(url)

		cluster.policy(t, "version: 1\nslices:\n  scope: all\n")
		cluster.keptBy(t, namespace, "ext", ours)
		cluster.endpointsOnce(t, namespace, "ext", addresses...)
		if got := fetchObject(t, cluster, namespace, "ext", &corev1.Endpoints{}).Labels[discoveryv1.LabelSkipMirror]; got != "true" {
			t.Errorf("the label skip-mirror is %q", got)
		}
		cluster.policy(t, "version: 1\nslices:\n  scope: 'off'\n")
		cluster.keptBy(t, namespace, "ext", mirrored)
		cluster.endpointsOnce(t, namespace, "ext", addresses...)
		cluster.policy(t, "version: 1\nslices:\n  scope: all\n")
		cluster.keptBy(t, namespace, "ext", ours)
		cluster.endpointsOnce(t, namespace, "ext", addresses...)

		if count, bad := stop(); count < 20 || len(bad) > 0 {
			t.Errorf("of %d requests %d failed: %q", count, len(bad), bad)
		}
	})
	t.Run("changes", func(t *testing.T) {
		shows(t, "A changed address of Endpoints writes its slice anew and reaches the running HAProxy without a reload")
		pid := cluster.proxy.pid(t)
		before := cluster.keptBy(t, namespace, "ext", ours)
		cluster.Apply(t, namespace, strings.Replace(endpoints, "203.0.113.31", "203.0.113.32", 1))
		cluster.endpointsOnce(t, namespace, "ext", "203.0.113.30", "203.0.113.32")
		after := cluster.keptBy(t, namespace, "ext", ours)
		if len(before) != 1 || len(after) != 1 || before[0].UID != after[0].UID {
			t.Errorf("the slice was not written anew but replaced: %d before, %d after", len(before), len(after))
		}
		lab.Eventually(t, patience, func() error {
			if got := cluster.proxy.reaches(t, url, "ext").Local; got != "203.0.113.32:8080" {
				return fmt.Errorf("the new address is not used but %s", got)
			}
			return nil
		})
		cluster.proxy.unreloaded(t, pid)
		cluster.Apply(t, namespace, endpoints)
		cluster.endpointsOnce(t, namespace, "ext", addresses...)
	})
	t.Run("manager restarts", func(t *testing.T) {
		shows(t, "The manager restarts: traffic goes on, it writes no slice that is as it must be, and catches up with what changed meanwhile")
		before := cluster.keptBy(t, namespace, "ext", ours)
		stop := cluster.proxy.ask(url)
		opened := cluster.FailOpenCount(t)
		cluster.manager.Stop()
		cluster.kubectl(t, "create", "namespace", namespace+"-idle")
		t.Cleanup(func() { cluster.Kubectl(t, "delete", "namespace", namespace+"-idle", "--wait=false") })
		cluster.startManager(t)
		cluster.leads(t)
		after := cluster.keptBy(t, namespace, "ext", ours)
		if len(after) != len(before) || after[0].ResourceVersion != before[0].ResourceVersion {
			t.Errorf("slices that were as they must be were written: %v, then %v", before, after)
		}

		cluster.manager.Stop()
		cluster.Apply(t, namespace, endpointsOf(strings.Replace(endpoints, "203.0.113.31", "203.0.113.32", 1)))
		cluster.startManager(t)
		cluster.endpointsOnce(t, namespace, "ext", "203.0.113.30", "203.0.113.32")
		cluster.opened += cluster.FailOpenCount(t) - opened
		if count, bad := stop(); count < 20 || len(bad) > 0 {
			t.Errorf("of %d requests %d failed: %q", count, len(bad), bad)
		}
		// The judge is back as well.
		cluster.refused(t, namespace, "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {type: ExternalName, externalName: 1.2.3.4}\n", "(service-external-name-ip)")
	})
	cluster.failedOpen(t)
}

// endpointsOf is the second document of a manifest.
func endpointsOf(manifest string) string { return strings.Split(manifest, "\n---\n")[1] }

// leads waits until the manager that runs now holds the Lease, and has looked at Endpoints since: at some of a probe's.
func (w *world) leads(t *testing.T) {
	t.Helper()
	namespace := w.Namespace(t)
	w.Apply(t, namespace, strings.ReplaceAll(endpoints, "ext", "probe"))
	w.keptBy(t, namespace, "probe", ours)
}
