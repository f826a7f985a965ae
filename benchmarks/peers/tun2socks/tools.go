//go:build tools

// The program itself, so that go.mod pins what it needs: go build github.com/xjasonlyu/tun2socks/v2
package main

import _ "github.com/xjasonlyu/tun2socks/v2"
