/// Catches the frames of a pipeline that cannot stall, by credits, and sends them as beats.
/// A credit is a free place for a frame. start_i says that a frame enters the pipeline and spends one; it may come only
/// while credit_o. The place is free again when the frame leaves the memory, so nothing is ever lost.
/// Latency: Latency + 2 cycles from start_i to the first beat, one more where Beats > 1. Rate: one beat per cycle; a frame
/// per cycle needs Depth >= Latency + 3. Back-pressure: holds valid_o and data_o until ready_i; credit_o comes from a register.
/// Reset forgets all frames. Needs stream_fifo.sv.
module frame_sink #(
  parameter int unsigned Latency   = 1,  // cycles from start_i to the frame on frame_i, at least 1
  parameter int unsigned Depth     = 4,  // frames under way or waiting, at least 3
  parameter int unsigned BeatWidth = 8,  // bits of a beat that carry elements
  parameter int unsigned Beats     = 1   // beats of a frame, at least 1
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,  // synchronous
  input  logic                       start_i,
  output logic                       credit_o,
  input  logic [Beats*BeatWidth-1:0] frame_i,  // beat 0 in the lowest bits
  output logic                       valid_o,
  input  logic                       ready_i,
  output logic [BeatWidth-1:0]       data_o,
  output logic                       last_o
);
  if (Latency < 1 || Depth < 3 || Beats < 1 || BeatWidth < 1) begin : gen_check
    $error("frame_sink: Latency, Beats and BeatWidth have to be at least 1, Depth at least 3");
  end

  localparam int unsigned CreditWidth = $clog2(Depth + 1);

  logic [Latency-1:0]         under_way_q;
  logic [CreditWidth-1:0]     credits_q;
  logic [Beats*BeatWidth-1:0] frame;
  logic                       frame_valid, frame_take, leaving;

  assign credit_o = credits_q != '0;
  assign leaving  = frame_valid && frame_take;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) under_way_q <= '0;
    else under_way_q <= Latency'({under_way_q, start_i});
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) credits_q <= CreditWidth'(Depth);
    else if (start_i && !leaving) credits_q <= credits_q - 1'b1;
    else if (!start_i && leaving) credits_q <= credits_q + 1'b1;
  end

  stream_fifo #(
    .Width(Beats * BeatWidth),
    .Depth(Depth)
  ) u_frames (
    .clk_i,
    .rst_ni,
    .s_valid_i(under_way_q[Latency-1]),
    .s_ready_o(),  // a credit is a free place
    .s_data_i (frame_i),
    .m_valid_o(frame_valid),
    .m_ready_i(frame_take),
    .m_data_o (frame)
  );

  if (Beats == 1) begin : gen_single
    assign valid_o    = frame_valid;
    assign data_o     = frame;
    assign last_o     = 1'b1;
    assign frame_take = ready_i;
  end else begin : gen_many
    localparam int unsigned CountWidth = $clog2(Beats);
    logic [CountWidth-1:0]      count_q;
    logic [Beats*BeatWidth-1:0] rest_q;
    logic                       busy_q;

    assign valid_o    = busy_q;
    assign data_o     = rest_q[BeatWidth-1:0];
    assign last_o     = count_q == CountWidth'(Beats - 1);
    assign frame_take = !busy_q || (ready_i && last_o);

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        busy_q  <= 1'b0;
        count_q <= '0;
      end else if (frame_take) begin
        busy_q  <= frame_valid;
        count_q <= '0;
      end else if (ready_i) begin
        count_q <= count_q + 1'b1;
      end
    end

    always_ff @(posedge clk_i) begin
      if (frame_take) rest_q <= frame;
      else if (ready_i) rest_q <= rest_q >> BeatWidth;
    end
  end
endmodule
