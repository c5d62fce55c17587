package lab

import (
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StartCertManager installs cert-manager's CRDs and runs its real certificate controllers and CA injector, under one
// ServiceAccount that may do everything, until the test ends. Its webhook is left out, since it refuses the durations of
// under an hour that a test of renewal needs; ACME is too.
func (c *ControlPlane) StartCertManager(t TB) *Running {
	t.Helper()
	const account = "cert-manager"
	crds := Bin(t, "cert-manager-crds.yaml")
	// The CRDs exceed what client-side apply can keep in its annotation.
	if _, stderr, err := c.Kubectl(t, "apply", "--server-side", "-f", crds); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, stderr)
	}
	if _, stderr, err := c.Kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "-f", crds); err != nil {
		t.Fatalf("kubectl wait: %v\n%s", err, stderr)
	}
	kubeconfig := c.ServiceAccountKubeconfig(t, account, account)
	_, err := c.clientset.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account, Name: account}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("%v", err)
	}
	return Start(t, Process{Path: Bin(t, "cert-manager-controllers"), Args: []string{"--kubeconfig=" + kubeconfig}})
}
