// What is built from the modules of go.mod, so that `go mod tidy` keeps them.

//go:build tools

package echo

import (
	_ "istio.io/istio/pkg/test/echo/cmd/client"
	_ "istio.io/istio/pkg/test/echo/cmd/server"
)
