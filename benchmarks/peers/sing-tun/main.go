// exit NAME ADDRESS PROXY: a TUN device of that address, terminated by sing-tun's system stack.
//
// What is connected to goes on through the SOCKS5 proxy, TCP and UDP. Routes are made by others.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"time"

	tun "github.com/sagernet/sing-tun"
	"github.com/sagernet/sing/common/bufio"
	"github.com/sagernet/sing/common/logger"
	M "github.com/sagernet/sing/common/metadata"
	N "github.com/sagernet/sing/common/network"
	"github.com/sagernet/sing/protocol/socks"
)

// monitor is asked by the device for one thing alone: to leave its interface out.
type monitor struct {
	tun.DefaultInterfaceMonitor
}

func (monitor) RegisterMyInterface(string) {}

type exit struct {
	proxy *socks.Client
}

func (exit) PrepareConnection(string, M.Socksaddr, M.Socksaddr) error { return nil }

func (e exit) NewConnectionEx(
	ctx context.Context, conn net.Conn, _, destination M.Socksaddr, onClose N.CloseHandlerFunc,
) {
	defer conn.Close()
	onward, err := e.proxy.DialContext(ctx, N.NetworkTCP, destination)
	if err == nil {
		err = bufio.CopyConn(ctx, conn, onward)
	}
	if onClose != nil {
		onClose(err)
	}
}

func (e exit) NewPacketConnectionEx(
	ctx context.Context, conn N.PacketConn, _, destination M.Socksaddr, onClose N.CloseHandlerFunc,
) {
	defer conn.Close()
	onward, err := e.proxy.ListenPacket(ctx, destination)
	if err == nil {
		err = bufio.CopyPacketConn(ctx, conn, bufio.NewPacketConn(onward))
	}
	if onClose != nil {
		onClose(err)
	}
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: exit NAME ADDRESS PROXY")
	}
	proxy, err := socks.NewClientFromURL(N.SystemDialer, os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	options := tun.Options{
		Name:             os.Args[1],
		Inet4Address:     []netip.Prefix{netip.MustParsePrefix(os.Args[2])},
		MTU:              1500,
		GSO:              true,
		InterfaceMonitor: monitor{},
		Logger:           logger.NOP(),
	}
	device, err := tun.New(options)
	if err != nil {
		log.Fatal(err)
	}
	stack, err := tun.NewStack("system", tun.StackOptions{
		Context:    context.Background(),
		Tun:        device,
		TunOptions: options,
		UDPTimeout: 5 * time.Minute,
		Handler:    exit{proxy},
		Logger:     logger.NOP(),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := device.Start(); err != nil {
		log.Fatal(err)
	}
	if err := stack.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	select {}
}
