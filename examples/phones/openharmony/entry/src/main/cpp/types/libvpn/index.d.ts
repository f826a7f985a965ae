export const startPython: (home: string, folder: string) => void;
export const run: (
  fd: number, mtu: number, host: string, port: number, name: string, certificate: string
) => Promise<string>;
export const stop: () => void;
