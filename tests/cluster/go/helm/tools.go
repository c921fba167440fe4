// What is built from the modules of go.mod, so that `go mod tidy` keeps them.

//go:build tools

package helm

import _ "helm.sh/helm/v3/cmd/helm"
