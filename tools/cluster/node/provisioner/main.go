// Command provisioner makes and removes the directories behind a single-node cluster's persistent volumes.
//
// It serves the provisioner name below, one directory per volume under --root. The volumes are of type
// "local", for which the kubelet applies a pod's fsGroup; for "hostPath" it does not.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const provisionerName = "dspyagent.io/directory"

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the cluster")
	root := flag.String("root", "", "directory under which volumes are made")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *root); err != nil {
		slog.Error("provisioner stopped", "error", err)
		os.Exit(1) //nolint:gocritic // stop() only detaches the signal handler of a process that ends here
	}
}

func run(ctx context.Context, kubeconfig, root string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading --kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	// One process serves one single-node cluster, so there is nobody to elect.
	controller.NewProvisionController(ctx, client, provisionerName, directories{root: root},
		controller.LeaderElection(false)).Run(ctx)
	return nil
}

// directories provisions one directory per volume below root.
type directories struct{ root string }

// Provision makes the volume's directory and describes it as a local volume of the selected node.
func (d directories) Provision(_ context.Context, options controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(d.root, options.PVName)
	if err := makeVolume(path); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("making the volume's directory: %w", err)
	}
	return volume(path, options), controller.ProvisioningFinished, nil
}

// Delete removes the directory. The path is made from the volume's name, never taken from its spec.
func (d directories) Delete(_ context.Context, pv *corev1.PersistentVolume) error {
	if err := os.RemoveAll(filepath.Join(d.root, filepath.Base(pv.Name))); err != nil {
		return fmt.Errorf("removing the volume's directory: %w", err)
	}
	return nil
}

// makeVolume leaves the directory writable for pods that set no fsGroup, whatever the umask.
func makeVolume(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	return os.Chmod(path, 0o777)
}

func volume(path string, options controller.ProvisionOptions) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: options.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity:                  onNode(options.SelectedNodeName),
		},
	}
}

func onNode(name string) *corev1.VolumeNodeAffinity {
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{name},
		}},
	}}}}
}
