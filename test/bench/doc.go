// Package bench measures what drawbridge costs, side by side with the least that it could cost. `make bench` runs all
// of it; one is run alone by
//
//	go test -run '^$' -bench Writes -benchtime 1x ./test/bench
//
// Only ratios of one run count: the contestants take turns, request by request or batch by batch, so that a machine
// whose speed drifts is as slow for one as for the other. Nothing here is asserted: a benchmark is no timed test. What
// `go test` runs is the same code with tiny sizes, so that it does not rot.
//
//   - BenchmarkWrites: how long a client waits for a write, through a real API server and etcd: with no admission at
//     all, with a ValidatingAdmissionPolicy of one CEL rule, with an empty controller-runtime webhook, and with the
//     manager as its binary. The empty webhook admits all, and is asked twice, to mutate and to validate, as drawbridge
//     is; it has none of the match conditions that keep the control plane's writes away from drawbridge.
//   - BenchmarkHandler: the handlers over TLS without an API server, by the number of connections, beside the same
//     empty webhook.
//   - BenchmarkMemory: the resident memory of the manager with 10,000 each of Services, EndpointSlices and Ingresses
//     in its cache, and writes beside such a cache.
//   - BenchmarkRequest: what HAProxy spends on a request.
//
// Reviews and single rules are measured in policy/rules.
package bench
