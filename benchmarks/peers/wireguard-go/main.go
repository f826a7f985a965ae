// forward MODE A B: two TUN devices, what comes out of one goes into the other.
//
// MODE: offload or plain. One goroutine a direction, as wireguard-go itself has.
package main

import (
	"fmt"
	"log"
	"os"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

const (
	mtu = 1500
	// Room before a packet for the virtio_net_hdr that Write puts there.
	offset = 10
	// Coalescing appends to the first packet's buffer, so each can hold the largest packet.
	bufferSize = offset + 65535
)

func open(name, mode string) (tun.Device, error) {
	if mode == "offload" {
		return tun.CreateTUN(name, mtu)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, err
	}
	return tun.CreateTUNFromFile(os.NewFile(uintptr(fd), "/dev/net/tun"), mtu)
}

func pump(from, to tun.Device) {
	buffers := make([][]byte, from.BatchSize())
	for i := range buffers {
		buffers[i] = make([]byte, bufferSize)
	}
	sizes := make([]int, len(buffers))
	packets := make([][]byte, len(buffers))
	for {
		n, err := from.Read(buffers, sizes, offset)
		if err != nil {
			log.Fatal(err)
		}
		for i := range n {
			packets[i] = buffers[i][:offset+sizes[i]]
		}
		// A failed write costs its packets, as everywhere: the other interface may be down.
		_, _ = to.Write(packets[:n], offset)
	}
}

func main() {
	if len(os.Args) != 4 || os.Args[1] != "offload" && os.Args[1] != "plain" {
		log.Fatal("usage: forward offload|plain A B")
	}
	var devices [2]tun.Device
	for i, name := range os.Args[2:] {
		device, err := open(name, os.Args[1])
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			for range device.Events() {
			}
		}()
		devices[i] = device
	}
	fmt.Println("ready")
	go pump(devices[1], devices[0])
	pump(devices[0], devices[1])
}
