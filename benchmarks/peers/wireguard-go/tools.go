//go:build tools

// The program itself, so that go.mod pins what it needs: go build golang.zx2c4.com/wireguard
package main

import _ "golang.zx2c4.com/wireguard"
