module tun2socks

go 1.23.1

require github.com/xjasonlyu/tun2socks/v2 v2.6.0
