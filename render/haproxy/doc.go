// Package haproxy turns the model and the addresses that its names resolve to into what a HAProxy runs on, and
// brings a running HAProxy to it.
//
// haproxy.cfg is a program of constant size, and one map is its data: Config depends on Options only, and a route,
// an address or a certificate is changed through the runtime API while HAProxy runs. The head of the frontend in
// routing.cfg describes the map.
//
// Nothing of an object reaches a file or a command but through Token, which is checked as it is made. What does not
// pass becomes a Problem that leaves out one route.
package haproxy
