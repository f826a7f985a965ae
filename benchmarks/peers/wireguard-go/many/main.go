// many SERVER KEY FILE: many wireguard-go peers of one server, in one process.
//
// SERVER is its address and port, KEY its public key in hexadecimal. Each line of FILE is a
// peer: its private key and an IPv4 packet, both in hexadecimal. Each sends its packet through
// its tunnel every second, the first one at once; when the first answer comes, "answered" is
// printed on a line.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

func run(server, key, privateKey string, packet []byte) error {
	channel := tuntest.NewChannelTUN()
	logger := device.NewLogger(device.LogLevelError, "")
	peer := device.NewDevice(channel.TUN(), conn.NewDefaultBind(), logger)
	settings := "private_key=%s\npublic_key=%s\nendpoint=%s\nallowed_ip=0.0.0.0/0\n"
	if err := peer.IpcSet(fmt.Sprintf(settings, privateKey, key, server)); err != nil {
		return err
	}
	if err := peer.Up(); err != nil {
		return err
	}
	go func() {
		for {
			channel.Outbound <- packet
			time.Sleep(time.Second)
		}
	}()
	<-channel.Inbound
	fmt.Println("answered")
	for range channel.Inbound {
	}
	return nil
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: many SERVER KEY FILE")
	}
	file, err := os.Open(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	peers := bufio.NewScanner(file)
	for peers.Scan() {
		var privateKey, text string
		if _, err := fmt.Sscan(peers.Text(), &privateKey, &text); err != nil {
			log.Fatal(err)
		}
		packet, err := hex.DecodeString(text)
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			log.Fatal(run(os.Args[1], os.Args[2], privateKey, packet))
		}()
	}
	select {}
}
