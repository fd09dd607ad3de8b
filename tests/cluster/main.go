// One program that is etcd, the Kubernetes control plane, kube-proxy, kubelet or kubectl, by the name
// it is called with. Nothing here is ours but the choice: every component is upstream's own command.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func run(command *cobra.Command) int { return cli.Run(command) }

var components = map[string]func() int{
	"etcd": func() int { etcdmain.Main(os.Args); return 0 },
	"kube-apiserver": func() int {
		return run(apiserver.NewAPIServerCommand())
	},
	"kube-controller-manager": func() int {
		return run(controllermanager.NewControllerManagerCommand())
	},
	"kube-scheduler": func() int { return run(scheduler.NewSchedulerCommand()) },
	"kube-proxy":     func() int { return run(proxy.NewProxyCommand()) },
	"kubelet": func() int {
		// For the real node (tests/cluster/node): a container runtime's, beside ours.
		return run(kubelet.NewKubeletCommand(context.Background()))
	},
	"kubectl": func() int {
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
		return 0
	},
}

func main() {
	name := filepath.Base(os.Args[0])
	component, known := components[name]
	if !known && len(os.Args) > 1 {
		// Called by another name: the first argument says which component.
		name = os.Args[1]
		if component, known = components[name]; known {
			os.Args = os.Args[1:]
		}
	}
	if !known {
		names := make([]string, 0, len(components))
		for n := range components {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "call this program by one of these names (a symbolic link, or the first argument): %v\n", names)
		os.Exit(2)
	}
	os.Exit(component())
}
