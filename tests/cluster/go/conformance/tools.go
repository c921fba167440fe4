// What is built from the modules of go.mod, so that `go mod tidy` keeps them.

//go:build tools

package conformance

import _ "sigs.k8s.io/gateway-api-conformance-images/echo-basic"
