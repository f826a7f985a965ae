// An app for OpenHarmony as far as Node can be one: it has Node-API, which that system took over.
// node phone.js MODULE HOME FOLDER FD MTU HOST PORT NAME CERTIFICATE; a line of input stops it.

const fs = require("fs");
const { constants } = require("os");

const [file, home, folder, fd, mtu, host, port, name, certificate] = process.argv.slice(2);
const module_ = { exports: {} };
// The system's Python leaves it to the program that its modules find libpython.
process.dlopen(module_, file, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL);
const vpn = module_.exports;

vpn.startPython(home, folder);
vpn.startPython(home, folder);
try {
  vpn.run(+fd, "1400", host, +port, name, "");
} catch (error) {
  console.log(error.message);
}
try {
  vpn.run(+fd, +mtu, host, +port, name, "no certificate");
} catch (error) {
  console.log(error.message);
}
vpn.run(+fd, +mtu, host, +port, name, fs.readFileSync(certificate, "utf8")).then((why) => {
  console.log(`ended: ${why}`);
  process.stdin.destroy();
});
try {
  vpn.run(+fd, +mtu, host, +port, name, "");
} catch (error) {
  console.log(error.message);
}
process.stdin.once("data", () => vpn.stop());
