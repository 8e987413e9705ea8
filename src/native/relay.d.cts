declare const relay: {
  /** The thread's file. */
  readonly file: string;
};
export = relay;
