// What the app uses of OpenHarmony's API, written after its reference (API 11 and later).

declare module '@kit.AbilityKit' {
  import { window } from '@kit.ArkUI';

  export interface Want {
    bundleName?: string;
    abilityName?: string;
  }
  export interface Context {
    filesDir: string;
    resourceManager: { getRawFileContent(path: string): Promise<Uint8Array> };
  }
  export class UIAbility {
    context: Context;
    onWindowStageCreate(windowStage: window.WindowStage): void;
  }
}

declare module '@kit.ArkTS' {
  export namespace util {
    class TextDecoder {
      static create(encoding?: string): TextDecoder;
      decodeToString(input: Uint8Array): string;
    }
  }
}

declare module '@kit.ArkUI' {
  export namespace window {
    interface WindowStage {
      loadContent(path: string): Promise<void>;
    }
  }
}

declare module '@kit.BasicServicesKit' {
  export interface BusinessError<T = void> extends Error {
    code: number;
    data: T;
  }
}

declare module '@kit.PerformanceAnalysisKit' {
  export namespace hilog {
    function error(domain: number, tag: string, format: string, ...args: Object[]): void;
    function info(domain: number, tag: string, format: string, ...args: Object[]): void;
  }
}

declare module '@kit.NetworkKit' {
  import { Context, Want } from '@kit.AbilityKit';

  interface NetAddress {
    address: string;
    family?: number;
    port?: number;
  }
  interface LinkAddress {
    address: NetAddress;
    prefixLength: number;
  }
  interface RouteInfo {
    interface: string;
    destination: LinkAddress;
    gateway: NetAddress;
    hasGateway: boolean;
    isDefaultRoute: boolean;
  }
  export namespace vpnExtension {
    interface VpnExtensionContext extends Context {}
    interface VpnConfig {
      addresses: Array<LinkAddress>;
      routes?: Array<RouteInfo>;
      dnsAddresses?: Array<string>;
      searchDomains?: Array<string>;
      mtu?: number;
      isIPv4Accepted?: boolean;
      isIPv6Accepted?: boolean;
      isInternal?: boolean;
      isBlocking?: boolean;
      trustedApplications?: Array<string>;
      blockedApplications?: Array<string>;
    }
    interface VpnConnection {
      create(config: VpnConfig): Promise<number>;
      protect(socketFd: number): Promise<void>;
      destroy(): Promise<void>;
    }
    function startVpnExtensionAbility(want: Want): Promise<void>;
    function stopVpnExtensionAbility(want: Want): Promise<void>;
    function createVpnConnection(context: VpnExtensionContext): VpnConnection;
  }
  export class VpnExtensionAbility {
    context: vpnExtension.VpnExtensionContext;
    onCreate(want: Want): void;
    onDestroy(): void;
  }
}

// ArkUI: a component's attributes return it.

interface CommonMethod {
  width(value: number | string): this;
  height(value: number | string): this;
  onClick(event: () => void): this;
}
interface ColumnAttribute extends CommonMethod {
  justifyContent(value: FlexAlign): this;
}
interface ButtonAttribute extends CommonMethod {}
interface TextAttribute extends CommonMethod {}
declare enum FlexAlign { Start, Center, End }
declare const Column: (value?: { space?: number | string }) => ColumnAttribute;
declare const Button: (label: string) => ButtonAttribute;
declare const Text: (content: string) => TextAttribute;
declare const Entry: ClassDecorator;
declare const Component: ClassDecorator;
declare const State: PropertyDecorator;
