// Package rules is the book of rules: one file a rule, named by the rule's ID.
package rules

//go:generate go test -count=1 -run ^TestReadme$ . -update

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
)

// all is the book. A slice gets its Service before its ports are judged by it.
var all = policy.Book{
	Services: []policy.Rule[*corev1.Service]{
		serviceExternalNameIP,
		serviceExternalNameFormat,
		serviceExternalNameTargetPort,
		serviceExternalNameForbidden,
		serviceExternalNameClusterLocal,
		serviceExternalNameLoop,
		serviceExternalNameDestination,
		serviceExternalNameIgnoredFields,
		serviceExternalNamePortDiffers,
		serviceExternalIPs,
		serviceEndpointsAddress,
		serviceLoadBalancerStatus,
		ingressExternalNamePortNameService,
		ingressPreserveHostService,
		ingressBackendProtocolService,
		ingressUnsafeTextService,
		ingressSecretNamespaceService,
		ingressSubrequestDestinationService,
		ingressSnippetService,
	},
	Endpoints: []policy.Rule[*corev1.Endpoints]{
		endpointsHostnameAddress,
		endpointsServiceExternalName,
		endpointsServiceSelector,
		endpointsServiceMissing,
		endpointsPortName,
		endpointsIPFamily,
		endpointsMirrorDuplicate,
		endpointsAddress,
	},
	EndpointSlices: []policy.Rule[*discoveryv1.EndpointSlice]{
		endpointSliceManagedByReserved,
		endpointSliceServiceName,
		endpointSliceManagedBy,
		endpointSliceFQDN,
		endpointSliceServiceExternalName,
		endpointSliceServiceSelector,
		endpointSliceServiceMissing,
		endpointSlicePortName,
		endpointSlicePorts,
		endpointSliceIPFamily,
		endpointSliceReady,
		endpointSliceAddress,
	},
	Ingresses: []policy.Rule[*networkingv1.Ingress]{
		ingressUnsafeText,
		ingressSecretNamespace,
		ingressSubrequestDestination,
		ingressSnippet,
		ingressHostOwner,
		ingressBackendMissing,
		ingressBackendPort,
		ingressBackendClusterLocal,
		ingressBackendAddress,
		ingressBackendDestination,
		ingressHostConflict,
		ingressProtocolConflict,
		ingressAnnotationValue,
		ingressExternalNamePortName,
		ingressPreserveHost,
		ingressBackendProtocol,
		ingressAnnotationForeign,
		// What follows judges what was injected, too.
		ingressAnnotationHalf,
		ingressMixedBackends,
		ingressTLSServerName,
		ingressClassUnsupported,
		ingressEndpointPort,
		ingressWebsocket,
		ingressSharedBackend,
	},
	ConfigMaps: []policy.Rule[*corev1.ConfigMap]{
		policyConfig,
	},
}

// All is the book of every rule, in the order in which they run. The caller must not change it.
func All() policy.Book { return all }

// Known tells whether there is a rule of that ID.
func Known(id string) bool { return all.Known(id) }
