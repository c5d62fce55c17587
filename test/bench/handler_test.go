package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/test/lab"
	"drawbridge.dev/drawbridge/webhook"
)

const (
	oursInside  = lab.Address + ":9643"
	emptyInside = lab.Address + ":9743"
	// handlerBatch is the number of requests of one turn.
	handlerBatch = 4000
	// handlerTurns is the number of turns of each that make an operation.
	handlerTurns = 5
)

// BenchmarkHandler measures the handlers over TLS, each connection asking as fast as it is answered. Both servers and
// the clients share this process. An operation is a few batches of requests for each server. The metrics are microseconds of
// the whole for a request, the 99th percentile of waiting for an answer, and the ratios to the empty webhook's.
func BenchmarkHandler(b *testing.B) {
	h := startHandlers(b, lab.Shared(b))
	for _, kind := range []string{"all", "Service/create", "Ingress/create", "Ingress/update", "Ingress/mend"} {
		for _, connections := range []int{1, 16, 128} {
			if kind != "all" && connections != 16 {
				continue
			}
			b.Run(fmt.Sprintf("%s/connections=%d", kind, connections), func(b *testing.B) {
				requests := h.requests[kind]
				h.send(b, emptyInside, requests, connections, handlerBatch/4)
				h.send(b, oursInside, requests, connections, handlerBatch/4)
				var floor, cost, ratio, ratio99 []float64
				var waits []time.Duration
				for b.Loop() {
					for range handlerTurns {
						f, f99 := h.send(b, emptyInside, requests, connections, handlerBatch)
						o, o99 := h.send(b, oursInside, requests, connections, handlerBatch)
						floor, cost, ratio = append(floor, us(f)), append(cost, us(o)), append(ratio, us(o)/us(f))
						waits, ratio99 = append(waits, o99), append(ratio99, us(o99)/us(f99))
					}
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(median(floor), "floor-us/request")
				b.ReportMetric(median(cost), "us/request")
				b.ReportMetric(median(ratio), "ratio")
				b.ReportMetric(us(quantile(waits, .5)), "p99-us")
				b.ReportMetric(median(ratio99), "p99-ratio")
			})
		}
	}
}

// handlers are drawbridge's and the empty ones, each on a server of its own, and what to ask them.
type handlers struct {
	ca *lab.CA
	// requests are whole HTTP requests, by the kind of write, the one for /mutate before the one for /validate.
	requests map[string][][]byte
}

// startHandlers runs both servers until the test ends. drawbridge's reads the cluster as the manager does.
func startHandlers(t lab.TB, cluster *lab.ControlPlane) *handlers {
	t.Helper()
	h := &handlers{ca: lab.NewCA(t), requests: map[string][][]byte{}}
	cl := fast(t, cluster)
	if err := client.IgnoreAlreadyExists(cl.Create(t.Context(), class())); err != nil {
		t.Fatalf("%v", err)
	}
	namespace := cluster.Namespace(t)
	create(t, cl, alias(namespace, "site"))
	oursCerts, emptyCerts := issue(t, h.ca), issue(t, h.ca)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wait sync.WaitGroup
	t.Cleanup(wait.Wait)
	t.Cleanup(cancel)
	run := func(start func(context.Context) error) {
		wait.Go(func() {
			if err := start(ctx); err != nil {
				t.Errorf("%v", err)
			}
		})
	}

	c, err := cache.New(cluster.Config, cache.Options{Scheme: scheme.Scheme, ByObject: webhook.CacheOptions(), ReaderFailOnMissingInformer: true})
	if err != nil {
		t.Fatalf("%v", err)
	}
	m := webhook.NewMetrics(prometheus.NewRegistry())
	world, err := webhook.NewCluster(ctx, c, cl, cl.RESTMapper(), m)
	if err != nil {
		t.Fatalf("%v", err)
	}
	run(c.Start)
	lab.Eventually(t, patience, func() error {
		if !world.HasSynced() {
			return fmt.Errorf("the cache is not filled")
		}
		return nil
	})
	config := policy.DefaultConfig()
	run(newServer(oursInside, oursCerts, func(s ctrlwebhook.Server) {
		webhook.Register(s, webhook.Options{Book: rules.All(), Policy: func() *policy.Config { return config }, World: world.For, Metrics: m})
	}).Start)
	run(newServer(emptyInside, emptyCerts, registerEmpty).Start)
	listening(t, oursInside)
	listening(t, emptyInside)

	for _, w := range writes {
		object := w.object(namespace, "measured")
		// As it would be stored: with managed fields and defaults.
		if err := cl.Create(t.Context(), object, client.DryRunAll); err != nil {
			t.Fatalf("%v", err)
		}
		requests := h.ask(t, w, object)
		h.requests[w.name] = requests
		if w.name != "Ingress/mend" {
			h.requests["all"] = append(h.requests["all"], requests...)
		}
	}
	return h
}

// ask makes the requests that an API server sends for a write.
func (h *handlers) ask(t lab.TB, w write, object client.Object) [][]byte {
	t.Helper()
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		t.Fatalf("%v", err)
	}
	object.GetObjectKind().SetGroupVersionKind(kinds[0])
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatalf("%v", err)
	}
	resource := map[string]string{"Service": "services", "Ingress": "ingresses"}[kinds[0].Kind]
	request := &admissionv1.AdmissionRequest{
		UID: "705ab4f5-6393-11e8-b7cc-42010a800002", Kind: metav1.GroupVersionKind(kinds[0]),
		Resource: metav1.GroupVersionResource{Group: kinds[0].Group, Version: kinds[0].Version, Resource: resource},
		Name:     object.GetName(), Namespace: object.GetNamespace(), Operation: admissionv1.Create,
		UserInfo: authenticationv1.UserInfo{
			Username: "system:serviceaccount:argocd:argocd-application-controller", UID: "0b4f6f4e-2a55-4f44-8dd4-d9bd34ec9cbe",
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:argocd", "system:authenticated"},
			Extra:  map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/credential-id": {"JTI=0b4f6f4e-2a55-4f44-8dd4-d9bd34ec9cbe"}},
		},
		Object:  runtime.RawExtension{Raw: raw},
		DryRun:  new(false),
		Options: runtime.RawExtension{Raw: []byte(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1","fieldManager":"argocd-controller"}`)},
	}
	request.RequestKind, request.RequestResource = &request.Kind, &request.Resource
	if w.update {
		request.Operation = admissionv1.Update
		old := object.DeepCopyObject().(client.Object)
		delete(old.GetLabels(), "app.kubernetes.io/part-of")
		if request.OldObject.Raw, err = json.Marshal(old); err != nil {
			t.Fatalf("%v", err)
		}
		request.Options.Raw = []byte(`{"kind":"UpdateOptions","apiVersion":"meta.k8s.io/v1","fieldManager":"argocd-controller"}`)
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	var out [][]byte
	for _, path := range []string{"mutate", "validate"} {
		out = append(out, fmt.Appendf(nil, "POST /%s/%s?timeout=5s HTTP/1.1\r\nHost: drawbridge\r\nContent-Type: application/json\r\n"+
			"Accept: application/json, */*\r\nUser-Agent: kube-apiserver-admission\r\nContent-Length: %d\r\n\r\n%s",
			path, map[string]string{"Service": "service", "Ingress": "ingress"}[kinds[0].Kind], len(body), body))
	}
	return out
}

// send asks a server over connections that are open before the time starts. It gives the time for one request, of the
// whole, and the 99th percentile of waiting for an answer.
func (h *handlers) send(t lab.TB, address string, requests [][]byte, connections, count int) (each, p99 time.Duration) {
	t.Helper()
	conns := make([]*tls.Conn, connections)
	for i := range conns {
		c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: h.ca.Pool(), ServerName: lab.Address, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatalf("%v", err)
		}
		defer c.Close()
		conns[i] = c
	}
	var wait sync.WaitGroup
	waits := make([][]time.Duration, connections)
	failed := make(chan error, connections)
	begin := time.Now()
	for i, c := range conns {
		wait.Go(func() {
			answers := bufio.NewReader(c)
			for n := range max(1, count/connections) {
				start := time.Now()
				if _, err := c.Write(requests[(i+n)%len(requests)]); err != nil {
					failed <- err
					return
				}
				if err := allowed(answers); err != nil {
					failed <- err
					return
				}
				waits[i] = append(waits[i], time.Since(start))
			}
		})
	}
	wait.Wait()
	took := time.Since(begin)
	close(failed)
	if err := <-failed; err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	var all []time.Duration
	for _, w := range waits {
		all = append(all, w...)
	}
	return took / time.Duration(len(all)), quantile(all, .99)
}

// allowed reads one answer, which must let the object pass.
func allowed(answers *bufio.Reader) error {
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"allowed":true`)) {
		return fmt.Errorf("status %d: %s: %w", resp.StatusCode, body, err)
	}
	return nil
}
